//! The properties of the machine that determine its speed.

use serde::{Deserialize, Serialize};

use super::{Cpus, Root};

/// The processor and the cores that this process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name that the processor reports.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: u32,
}

impl Machine {
    /// Describes the machine that this process runs on.
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let cpu = Cpus::read(&Root::system()).model;
        Self { cpu: cpu.unwrap_or_else(|| "unknown".to_owned()), cores }
    }
}
