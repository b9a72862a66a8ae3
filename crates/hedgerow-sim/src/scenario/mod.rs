//! Scenarios: everything about a simulation that somebody chose.
//!
//! A file is read in two forms, [`raw`] as it is written and [`Scenario`] checked and in SI units; the
//! rest of the crate sees only the second. No value has a default here: a scenario file says them all.

mod check;
mod error;
mod raw;

use std::path::Path;

use hedgerow_core::node::Node;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;

pub use error::ScenarioError;

use crate::channel::Cell;

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
    /// How many accelerators the node's arithmetic is made of: what the policy `none` divides by.
    pub accelerators: u32,
    /// How the pipeline plans.
    pub settings: Settings,
    /// Who asks for what.
    pub users: Users,
    /// Where they stand, when they come by radio.
    pub cell: Option<Cell>,
}

/// When no more requests arrive; those that have arrived are still served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After so many.
    Requests(u64),
    /// After so long.
    Duration(Span),
}

/// Who asks for what (`model.md §5`).
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// Arrivals a second of the Poisson process, above 0.
    pub rate_per_s: f64,
    /// Prompt lengths `s_i`, all as likely; never empty.
    pub prompts: Vec<Tokens>,
    /// Output limits `n_i`, all as likely; never empty.
    pub outputs: Vec<Tokens>,
    /// The part of its limit that an answer takes.
    pub answer_part: Range,
    /// Latency requirement `τ_i` from arrival, in seconds; `None` where nobody has one.
    pub deadline_s: Option<Range>,
    /// Accuracy requirement `a_i`, within 0..=1.
    pub min_quality: Range,
    /// After how many seconds a user goes away unserved; `None` where nobody does.
    pub patience_s: Option<Range>,
}

/// The uniform distribution between two numbers, or one number when both are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest number.
    pub least: f64,
    /// The largest number.
    pub most: f64,
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
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or as [`Scenario::parse`].
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), kind: source.kind() })?;
        Self::parse(&text)
    }

    /// Reads a scenario from its text.
    ///
    /// # Errors
    ///
    /// When it is not TOML, has an unknown or missing key, or a value that makes no sense; each error
    /// names the key.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        check::scenario(raw::parse(text)?)
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
            self.users.rate_per_s = check::positive("users.rate_per_s", rate_per_s)?;
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
mod tests;
