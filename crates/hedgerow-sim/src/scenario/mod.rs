//! Scenarios: the complete input of a simulation.
//!
//! A file is read in two forms, [`raw`] as written and [`Scenario`] checked and in SI units; the rest of the crate
//! uses only the second. [`keys`] declares all keys; keys with a default extend the paper's model, and their defaults
//! disable the extension.

mod check;
mod error;
mod keys;
mod raw;
mod show;

use std::path::Path;

use hedgerow_core::node::Node;
use hedgerow_core::settings::Settings;
use hedgerow_workload::{Process, read_text};

use crate::arrivals::{Arrivals, Source};
use crate::channel::{Cell, ChannelKnowledge, GainDraws};

pub use crate::arrivals::{Extent, OutputKnowledge, Range, Users};
pub use error::ScenarioError;
pub use show::Section;

/// The checked input of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name, for tables and files.
    pub name: String,
    /// The seed of all random numbers.
    pub seed: u64,
    /// When the arrivals end.
    pub extent: Extent,
    /// The node.
    pub node: Node,
    /// Its model's name.
    pub model: String,
    /// The device of its accelerators, if the scenario names one.
    pub device: Option<String>,
    /// Number of the node's accelerators, by which the policy `none` divides.
    pub accelerators: u32,
    /// The pipeline's settings.
    pub settings: Settings,
    /// What users ask for, and their total rate.
    pub users: Users,
    /// Classes of users with different requests; empty if there is only one kind.
    pub classes: Vec<Class>,
    /// The arrival process.
    pub process: Process,
    /// What the node knows.
    pub knowledge: Knowledge,
    /// The cell, if users are connected by radio.
    pub cell: Option<Cell>,
}

/// A class of users.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its fraction of all requests.
    pub part: f64,
    /// What its users ask for; the rate is the class's part of the total.
    pub users: Users,
}

/// What the node knows, and how wrong it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knowledge {
    /// What it knows about answer lengths.
    pub output: OutputKnowledge,
    /// Factor by which the engine is slower than the node's cost model.
    pub engine_factor: f64,
    /// What it knows about channels.
    pub channel: ChannelKnowledge,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self { output: OutputKnowledge::Limit, engine_factor: 1.0, channel: ChannelKnowledge::default() }
    }
}

/// Changes to a scenario that do not change its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// The policy's name; `none` alone uses the node's number of accelerators.
    pub policy: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
    /// The number of requests.
    pub requests: Option<u64>,
    /// The arrival rate per second.
    pub rate_per_s: Option<f64>,
}

impl Scenario {
    /// All arrivals of the scenario.
    pub fn arrivals(&self) -> Arrivals {
        let classes: Vec<Users> = self.classes.iter().map(|class| class.users.clone()).collect();
        let cell = self.cell.as_ref();
        Arrivals::of(Source {
            seed: self.seed,
            classes: if classes.is_empty() { vec![self.users.clone()] } else { classes },
            extent: self.extent,
            gains: cell.map(|cell| GainDraws::new(cell, self.knowledge.channel, self.seed)),
            bits_per_token: cell.map_or(0.0, |cell| cell.bits_per_token),
            knowledge: self.knowledge.output,
            process: &self.process,
            rate_per_s: self.users.rate_per_s,
        })
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and as for [`Scenario::parse`].
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = read_text(path).map_err(|error| ScenarioError::Unreadable {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Self::parse_in(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a scenario from its text; paths in it are relative to the current folder.
    ///
    /// # Errors
    ///
    /// When it is not TOML, has an unknown or missing key, or has an invalid value; each error names the key.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        Self::parse_in(text, Path::new(""))
    }

    /// Reads a scenario from its text; paths in it are relative to a folder.
    ///
    /// # Errors
    ///
    /// As for [`Scenario::parse`].
    pub fn parse_in(text: &str, folder: &Path) -> Result<Self, ScenarioError> {
        let raw = raw::parse(text)?;
        check::ranges(&toml::from_str(text).expect("it was just read"))?;
        check::scenario(raw, folder)
    }

    /// The scenario with some values changed.
    ///
    /// # Errors
    ///
    /// When a value is invalid.
    pub fn with(mut self, overrides: &Overrides) -> Result<Self, ScenarioError> {
        if let Some(policy) = &overrides.policy {
            self.settings.policy = check::policy(policy, self.accelerators)?;
        }
        if let Some(seed) = overrides.seed {
            self.seed = seed;
        }
        if let Some(requests) = overrides.requests {
            self.extent = Extent::Requests(requests);
        }
        if let Some(rate_per_s) = overrides.rate_per_s {
            check::one("users", "rate_per_s", "users.rate_per_s", rate_per_s)?;
            self.users.rate_per_s = rate_per_s;
            self.classes.iter_mut().for_each(|class| class.users.rate_per_s = class.part * rate_per_s);
            check::check_trace_rate(&self)?;
        }
        Ok(self)
    }

    /// The expected number of requests, for progress bars.
    pub fn expected_requests(&self) -> u64 {
        match self.extent {
            Extent::Requests(requests) => requests,
            Extent::Duration(duration) => (duration.as_seconds() * self.users.rate_per_s).round() as u64,
        }
    }
}

#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod number_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
