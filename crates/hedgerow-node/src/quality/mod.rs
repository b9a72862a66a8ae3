//! The quality loss of a precision: its predictions on a text, compared with a reference's.
//!
//! - takes: what `hedgerow evaluate` measured ([`Measured`]) of models of one architecture and vocabulary
//! - gives: for each a [`Quality`] with confidence intervals, saved for the choice of a precision ([`saved`])
//! - never: runs a model
//!
//! [docs/concepts/quality.md] has the definitions.
//!
//! [docs/concepts/quality.md]: ../../../../docs/concepts/quality.md

mod file;
mod subject;

use serde::{Deserialize, Serialize};

pub use file::{Quality, ResultStore, saved};
pub use subject::{QualityError, Subject, Text, TextFile, kinship};

/// A figure and its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure as estimated from all windows.
    pub value: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Upper bound of the interval.
    pub high: f64,
}

/// The measurements of one model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// End of the run, in seconds since 1970.
    pub measured_unix_s: u64,
    /// How long the run took, with all models that were compared in it.
    pub took_ms: u64,
    /// Perplexity: `e` to the mean surprisal of the next token.
    pub ppl: Estimate,
    /// The reference's perplexity.
    pub ppl_reference: Estimate,
    /// `PPL − PPL_ref`.
    pub ppl_delta: Estimate,
    /// `PPL_ref / PPL`: above 1 if the model's perplexity happens to be below its reference's.
    pub ppl_ratio: Estimate,
    /// Mean Kullback-Leibler divergence from the reference, in nats per token.
    pub kl_mean: Estimate,
    /// The fraction of tokens at which its top token is the reference's.
    pub same_top: Estimate,
}
