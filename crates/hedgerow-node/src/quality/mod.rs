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

/// The measurements of one model; [`Quality`] says what each figure is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "`Quality` has the same fields")]
pub struct Measured {
    pub ppl: Estimate,
    pub ppl_reference: Estimate,
    pub ppl_delta: Estimate,
    pub ppl_ratio: Estimate,
    pub kl_mean: Estimate,
    pub same_top: Estimate,
    pub took_ms: u64,
    pub measured_unix_s: u64,
}
