//! Users: the distributions of what they ask for.

use hedgerow_core::time::Span;

use super::Lengths;

/// Who asks for what (`model.md §5`).
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// Arrivals a second on average, above 0.
    pub rate_per_s: f64,
    /// Prompt lengths `s_i`.
    pub prompts: Lengths,
    /// Output limits `n_i`.
    pub outputs: Lengths,
    /// How prompt and output go together, from -1 to 1; `None`: not at all.
    pub length_correlation: Option<f64>,
    /// The part of its limit that an answer takes.
    pub answer_part: Range,
    /// Latency requirement `τ_i` from arrival, in seconds; `None` where nobody has one.
    pub deadline_s: Option<Range>,
    /// Accuracy requirement `a_i`, within 0..=1.
    pub min_quality: Range,
    /// What serving one of them is worth, `v_i`.
    pub value: u32,
    /// What is sent up besides the prompt's tokens, in bytes.
    pub payload_bytes: Option<Range>,
    /// What is sent down besides the answer's tokens, in bytes.
    pub answer_bytes: Option<Range>,
    /// After how many seconds a user goes away unserved; `None` where nobody does.
    pub patience_s: Option<Range>,
}

/// When no more requests arrive; those that have arrived are still served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After so many.
    Requests(u64),
    /// After so long.
    Duration(Span),
}

/// What the node knows of the answers' lengths beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputKnowledge {
    /// Their limits.
    Limit,
    /// The lengths themselves.
    Oracle,
    /// What callers expect: the length times a factor, times a log-normal error of a median of 1.
    Hint {
        /// Above 1 they expect too much.
        factor: f64,
        /// Standard deviation of the error's logarithm.
        sigma: f64,
    },
}

/// The uniform distribution between two numbers, or one number when both are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest number.
    pub least: f64,
    /// The largest number.
    pub most: f64,
}
