//! One step: the unit of work between the core and an engine.

use super::EndReason;
use crate::quantization::PrecisionIndex;
use crate::request::RequestId;
use crate::time::Span;
use crate::units::Tokens;

/// One call of the engine: a ragged batch of decoding requests and prompt chunks, all at one precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Step {
    /// Which resident precision runs.
    pub precision: PrecisionIndex,
    /// Prompts to work on; at most one chunk a request.
    pub prefill: Vec<PrefillChunk>,
    /// Requests whose prompt is done: each produces one token.
    pub decode: Vec<RequestId>,
}

impl Step {
    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.prefill.is_empty() && self.decode.is_empty()
    }

    /// How many requests take part.
    pub fn request_count(&self) -> usize {
        self.prefill.len() + self.decode.len()
    }
}

/// The next `tokens` of one request's prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct PrefillChunk {
    /// Whose prompt.
    pub request: RequestId,
    /// How many tokens of it; at least 1 and no more than are left. Of a first chunk, the engine may run
    /// fewer: see [`Progress::cached`].
    pub tokens: Tokens,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct StepReport {
    /// One entry for each request of the step, prefill first, in the step's order.
    pub progress: Vec<Progress>,
    /// How long it took: on the clock of a real engine, by the cost model of a simulated one.
    pub elapsed: Span,
    /// Tokens in the KV cache after it.
    pub kv_used: Tokens,
}

/// How far one request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Progress {
    /// Which request.
    pub request: RequestId,
    /// Prompt tokens worked through in this step.
    pub prefilled: Tokens,
    /// Set with the first chunk of a prompt: how many tokens before it the cache held already.
    pub cached: Option<Tokens>,
    /// Whether it produced a token.
    pub produced: bool,
    /// Set when that was its last: the engine holds nothing for it any more.
    pub end: Option<EndReason>,
}
