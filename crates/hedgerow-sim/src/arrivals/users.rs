//! Users: the distributions of what they ask for.

use hedgerow_core::time::Span;
use hedgerow_workload::Lengths;

/// When arrivals end; requests that have arrived are still served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After this number of requests.
    Requests(u64),
    /// After this time.
    Duration(Span),
}

/// What users ask for (`model.md §5`).
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// Mean arrival rate per second, above 0.
    pub rate_per_s: f64,
    /// Prompt lengths `s_i`.
    pub prompts: Lengths,
    /// Output limits `n_i`.
    pub outputs: Lengths,
    /// Correlation of prompt and output lengths, from -1 to 1; `None` for independent lengths.
    pub length_correlation: Option<f64>,
    /// Answer length as a fraction of the output limit.
    pub answer_part: Range,
    /// Latency requirement `τ_i` from arrival, in seconds; `None` for best-effort requests.
    pub deadline_s: Option<Range>,
    /// Accuracy requirement `a_i`, within 0..=1.
    pub min_quality: Range,
    /// The value `v_i` of serving a request.
    pub value: u32,
    /// Uplink payload besides the prompt's tokens, in bytes.
    pub payload_bytes: Option<Range>,
    /// Downlink payload besides the answer's tokens, in bytes.
    pub answer_bytes: Option<Range>,
    /// Time from arrival in seconds after which a user cancels; `None` if users never cancel.
    pub patience_s: Option<Range>,
}

/// What the node knows about answer lengths in advance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputKnowledge {
    /// The output limits.
    Limit,
    /// The exact lengths.
    Oracle,
    /// The users' hints: the length times a factor, times a log-normal error with median 1.
    Hint {
        /// Bias of the hints; above 1 they are too long.
        factor: f64,
        /// Standard deviation of the error's logarithm.
        sigma: f64,
    },
}

/// The uniform distribution between two numbers; a constant if both are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest number.
    pub least: f64,
    /// The largest number.
    pub most: f64,
}
