//! Scenarios: everything about a simulation that somebody chose.
//!
//! A file is read in two forms, [`raw`] as it is written and [`Scenario`] checked and in SI units; the
//! rest of the crate sees only the second. `docs/reference/scenarios.md` has every key; those with a default are what
//! was added to the paper's model, and by default it is not there.

mod check;
mod error;
mod raw;
mod show;

use std::path::Path;

use hedgerow_core::node::Node;
use hedgerow_core::settings::Settings;

pub use check::PROFILE_FORMAT;
pub use error::{ScenarioError, nearest};
pub use show::Section;

use crate::arrivals::{Arrivals, Process, Source};
pub use crate::arrivals::{Extent, OutputKnowledge, Range, Users};
use crate::channel::{Cell, ChannelKnowledge, GainDraws};
use crate::text_file::read_text;

/// A simulation's whole input, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name, for tables and files.
    pub name: String,
    /// The seed that every draw comes from.
    pub seed: u64,
    /// How long it goes on.
    pub extent: Extent,
    /// The node.
    pub node: Node,
    /// Its model's name.
    pub model: String,
    /// What its accelerators are, if the scenario named a device.
    pub device: Option<String>,
    /// How many accelerators the node's arithmetic is made of: what the policy `none` divides by.
    pub accelerators: u32,
    /// How the pipeline plans.
    pub settings: Settings,
    /// Who asks for what, and how often all of them together.
    pub users: Users,
    /// Kinds of users, each asking for something else; empty where all are of one kind.
    pub classes: Vec<Class>,
    /// When they come.
    pub process: Process,
    /// What the node knows of all this.
    pub knowledge: Knowledge,
    /// Where they stand, when they come by radio.
    pub cell: Option<Cell>,
}

/// A kind of users.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its part of all requests.
    pub part: f64,
    /// What they ask for; the rate is their part of all.
    pub users: Users,
}

/// What the node knows, and what it is wrong about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knowledge {
    /// Of the answers' lengths.
    pub output: OutputKnowledge,
    /// How many times as long the engine takes as the node's cost model says.
    pub engine_factor: f64,
    /// Of the channels.
    pub channel: ChannelKnowledge,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self { output: OutputKnowledge::Limit, engine_factor: 1.0, channel: ChannelKnowledge::default() }
    }
}

/// What to change in a scenario without changing its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// The policy's name, as the core reads it; `none` alone takes the node's number of accelerators.
    pub policy: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
    /// How many requests arrive.
    pub requests: Option<u64>,
    /// Arrivals a second.
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
    /// When the file cannot be read, or as [`Scenario::parse`].
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = read_text(path).map_err(|error| ScenarioError::Unreadable {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Self::parse_in(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a scenario from its text; files that it names are looked for from the current folder.
    ///
    /// # Errors
    ///
    /// When it is not TOML, has an unknown or missing key, or a value that makes no sense; each error
    /// names the key.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        Self::parse_in(text, Path::new(""))
    }

    /// Reads a scenario from its text; files that it names are looked for from a folder.
    ///
    /// # Errors
    ///
    /// As [`Scenario::parse`].
    pub fn parse_in(text: &str, folder: &Path) -> Result<Self, ScenarioError> {
        check::scenario(raw::parse(text)?, folder)
    }

    /// The same scenario with some values changed.
    ///
    /// # Errors
    ///
    /// When a value makes no sense.
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
            self.users.rate_per_s = check::rate("users.rate_per_s", rate_per_s)?;
            self.classes.iter_mut().for_each(|class| class.users.rate_per_s = class.part * rate_per_s);
            check::rate_can_be_had(&self)?;
        }
        Ok(self)
    }

    /// About how many requests will arrive, for progress bars.
    pub fn expected_requests(&self) -> u64 {
        match self.extent {
            Extent::Requests(requests) => requests,
            Extent::Duration(duration) => (duration.as_seconds() * self.users.rate_per_s).round() as u64,
        }
    }
}

#[cfg(test)]
mod number_tests;
#[cfg(test)]
mod tests;
