//! The model's quantized forms: what each takes, and what it loses.

use super::cost::MeasuredCost;
use super::time::Span;
use super::units::{Bytes, Quality};

/// One quantized form of the model, with its memory, speed and quality on this node (`model.md §1`).
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Precision {
    /// Its usual name: `F16`, `Q4_0`, `W8A16`.
    pub name: String,
    /// Size of its weights, `α_q · weights`.
    pub weights: Bytes,
    /// Time factor of prefill against 16 bits, `β_q`.
    pub beta_prefill: f64,
    /// Time factor of decode against 16 bits, `β_q`.
    pub beta_decode: f64,
    /// Its quality `f(ΔPPL_q)`: see [`quality_by_perplexity`] and [`quality_by_agreement`].
    pub quality: Quality,
    /// When its weights are in memory.
    #[serde(default)]
    pub residency: Residency,
    /// Its own step times, on a node that measured each precision; `None` where the cost model's hold for all.
    #[serde(default)]
    pub measured: Option<MeasuredCost>,
}

/// When a precision's weights are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// From the node's start to its end.
    #[default]
    Always,
    /// While a plan needs them: loaded on demand.
    OnDemand {
        /// How long loading them takes; the engine runs no step meanwhile.
        load: Span,
        /// Whether they are in memory when the node starts.
        at_start: bool,
    },
}

impl Residency {
    /// Whether the weights are in memory when the node starts.
    pub fn is_there_at_start(self) -> bool {
        match self {
            Self::Always => true,
            Self::OnDemand { at_start, .. } => at_start,
        }
    }
}

/// The index of a precision in [`crate::model::node::Node::precisions`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
pub struct PrecisionIndex(pub usize);

/// Quality as the ratio of perplexities: `f = PPL_ref / PPL_q`, at most 1 (`model.md §1`).
///
/// # Panics
///
/// If a perplexity is not a positive number.
pub fn quality_by_perplexity(reference: f64, quantized: f64) -> Quality {
    assert!(reference > 0.0 && quantized > 0.0, "perplexities {reference} and {quantized} must be positive");
    Quality::new((reference / quantized).min(1.0)).expect("a ratio capped at 1 is a fraction")
}

/// Quality as the measured share of tokens on which the quantized model's first choice is the
/// reference's (`model.md §1`). `None` unless `agreeing` of `all` is a fraction.
pub fn quality_by_agreement(agreeing: u64, all: u64) -> Option<Quality> {
    Quality::new(agreeing as f64 / all as f64)
}
