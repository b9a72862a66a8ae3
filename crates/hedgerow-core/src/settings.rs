//! What the operator decides about planning.

use crate::time::Span;
use crate::units::Tokens;
use hedgerow_solver::Policy;

/// How the pipeline plans.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Settings {
    /// When it plans.
    pub protocol: Protocol,
    /// How it chooses.
    #[serde(with = "crate::as_text")]
    pub policy: Policy,
    /// Requests that may wait at once; one more is refused.
    pub queue_capacity: usize,
    /// Tree nodes that one planning may visit.
    pub node_limit: u64,
    /// Part added to every predicted time, so that a promise survives a slower step: 0.1 adds a tenth. More is
    /// added where predictions have been found to be worse.
    pub margin: f64,
    /// Part of the answers that may be expected to be no longer than planned, above 0; 1 plans with the
    /// limit that each names.
    pub confidence: f64,
    /// Part of the node's time that is kept for requests that name no time, below 1; 0 leaves them what the
    /// others do not need.
    pub best_effort_share: f64,
    /// What prompts are padded to.
    pub padding: Padding,
}

impl Settings {
    /// A prompt's padded length in a batch whose longest prompt is `longest`. Without batching there is
    /// nothing to pad to.
    pub fn pad(&self, prompt: Tokens, longest: Tokens) -> Tokens {
        match self.policy {
            Policy::None { .. } => prompt,
            Policy::BruteForce
            | Policy::Dftsp
            | Policy::Exact
            | Policy::Greedy
            | Policy::Edf
            | Policy::Fifo
            | Policy::Static { .. } => self.padding.pad(prompt, longest),
        }
    }
}

/// When batches are planned (`model.md §4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The paper's: time is cut into epochs, and a batch runs to its end before the next is planned.
    Epoch {
        /// Length of an epoch.
        length: Span,
        /// Compute slot `T_C` within it.
        compute_slot: Span,
    },
    /// Requests join and leave at any step.
    Continuous,
}

/// What prompts are padded to (`model.md §1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Nothing: ragged batches, as real engines run them.
    None,
    /// The longest prompt of the batch.
    BatchMax,
    /// A set length `s'`; longer prompts stay as they are.
    Fixed(Tokens),
}

impl Padding {
    /// A prompt's padded length in a batch whose longest prompt is `longest`.
    pub fn pad(self, prompt: Tokens, longest: Tokens) -> Tokens {
        match self {
            Self::None => prompt,
            Self::BatchMax => longest.max(prompt),
            Self::Fixed(length) => length.max(prompt),
        }
    }
}
