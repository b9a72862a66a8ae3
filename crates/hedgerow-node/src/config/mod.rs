//! The operator's configuration, by precedence: flag > environment > file > `config/default.toml`.
//!
//! There are no defaults in code: the file of defaults is embedded and read like any other layer. The rest of the
//! program uses only [`Config`], checked and in SI units.

mod accelerators;
mod args;
mod checked;
mod layers;
mod limits;
mod numbers;
mod raw;
#[cfg(test)]
mod reference;

pub use accelerators::{DeviceChoice, GpuLayers};
pub use args::{CommonArgs, ConfigArgs, EngineArgs, PlanningArgs};
pub use checked::{
    AccessConfig, BatchConfig, BatchFolder, Config, KernelChoice, LogConfig, LogFormat, SamplingDefaults,
};
pub use layers::{Layered, Values, load, of_file};
pub use limits::LimitsConfig;
pub use numbers::{FACTORS, PARTS, RATES_PER_S, number};
