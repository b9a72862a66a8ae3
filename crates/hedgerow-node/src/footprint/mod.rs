//! Estimates how much memory serving takes, before anything is loaded.
//!
//! - takes: the headers of the model files, the engine's settings, and the available memory
//! - gives: the size of each part, or an error with settings that would fit
//! - never: loads or allocates
//!
//! `estimate` contains the formulas, each an upper bound that is tested against llama.cpp's own report of its
//! buffers; `refusal` searches for settings that fit.

mod dimensions;
mod estimate;
mod refusal;

use std::path::PathBuf;

pub use dimensions::Dimensions;
pub use estimate::Parts;
pub use estimate::Setup;

use crate::config::Config;
use crate::host::{Cpus, MemoryRoom, Root};

/// Returns an error if models do not fit the memory together; logs their size if they do. `on_devices` is the part of
/// them in the memory of accelerators, in bytes.
///
/// # Errors
///
/// When they do not fit, with settings that would; when a header cannot be read.
pub(crate) fn ensure_fits(files: &[PathBuf], config: &Config, on_devices: u64) -> anyhow::Result<()> {
    let Some(room) = MemoryRoom::read(&Root::system()) else {
        tracing::debug!("this system does not say how much memory is available, so no limit is checked");
        return Ok(());
    };
    let parts = fitting(files, config, on_devices, &room)?;
    tracing::info!("memory: at most {} of {} that are left: {parts}", mb(parts.total()), mb(room.bytes));
    if let Some(soft) = room.soft.filter(|soft| soft.left() < parts.total()) {
        tracing::warn!(
            "{} leaves only {}: above it the system slows this process down",
            soft.file.display(),
            mb(soft.left())
        );
    }
    Ok(())
}

/// Returns the memory that models take together, if they fit the available memory.
///
/// # Errors
///
/// As `ensure_fits`.
pub fn fitting(
    files: &[PathBuf],
    config: &Config,
    on_devices: u64,
    room: &MemoryRoom,
) -> anyhow::Result<Parts> {
    let features = Cpus::read(&Root::system()).features;
    let models = files.iter().map(|file| Dimensions::read(file, &features));
    let models = models.collect::<Result<Vec<_>, _>>()?;
    let setup = Setup { on_device: on_devices, ..Setup::of(config) };
    let parts = Parts::of(&models, &setup);
    if parts.total() > room.bytes {
        return Err(refusal::refuse(&models, &setup, room));
    }
    Ok(parts)
}

/// Formats bytes for users, rounded up.
fn mb(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
