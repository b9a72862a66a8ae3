//! The operator's settings of planning.

use crate::model::time::Span;
use crate::model::units::Tokens;
use hedgerow_solver::Policy;

/// How the pipeline plans.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Settings {
    /// When batches are planned.
    pub protocol: Protocol,
    /// How a batch is chosen.
    #[serde(with = "crate::model::as_text")]
    pub policy: Policy,
    /// The most requests that may wait; further ones are rejected.
    pub queue_capacity: usize,
    /// Tree nodes that one planning may visit.
    pub node_limit: u64,
    /// Part added to every predicted time, so that admitted requests meet their deadlines despite slower steps: 0.1
    /// adds a tenth. More is added where predictions have turned out to be less accurate.
    pub margin: f64,
    /// Part of the answers that are expected to be no longer than planned, above 0; 1 plans with each request's
    /// `max_tokens`.
    pub confidence: f64,
    /// Part of the node's time that is reserved for best-effort requests, below 1; with 0 they use leftover capacity
    /// only.
    pub best_effort_share: f64,
    /// What prompts are padded to.
    pub padding: Padding,
}

impl Settings {
    /// The factor on a step's time after which the request may run its next step. Without batching each request
    /// runs on one of the accelerators (`model.md §3`), and the node time-shares their steps, so the factor is
    /// their number. In an epoch only the sum of the batch's steps counts, because the batch ends as one.
    pub fn slowdown_of_steps(&self) -> u32 {
        match (self.policy, self.protocol) {
            (Policy::None { accelerators }, Protocol::Continuous) => accelerators,
            (_, _) => 0,
        }
    }

    /// A prompt's padded length in a batch whose longest prompt is `longest`. Without batching, prompts are not
    /// padded.
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
    /// The paper's protocol: time is divided into epochs, and a batch runs to its end before the next is planned.
    Epoch {
        /// Length of an epoch.
        length: Span,
        /// Compute slot `T_C` within it.
        compute_slot: Span,
    },
    /// Continuous batching: requests join and leave the batch at any step.
    Continuous,
}

/// What prompts are padded to (`model.md §1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// No padding: ragged batches, as real engines run them.
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
