//! One step: the unit of work between the core and an engine.

use std::borrow::Cow;

use crate::model::precision::PrecisionIndex;
use crate::model::request::RequestId;
use crate::model::time::Span;
use crate::model::units::Tokens;

/// One step of the engine: a ragged batch of decoding requests and prompt chunks, all at one precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Step {
    /// The precision, which is in memory.
    pub precision: PrecisionIndex,
    /// Prompt chunks to prefill, at most one per request.
    pub prefill: Vec<PrefillChunk>,
    /// Requests that decode: each produces one token.
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
    /// The request.
    pub request: RequestId,
    /// How many tokens of its prompt; at least 1 and no more than are left. Of a first chunk, the engine may run
    /// fewer: see [`Progress::cached`].
    pub tokens: Tokens,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct StepReport {
    /// One entry for each request of the step, prefill first, in the step's order.
    pub progress: Vec<Progress>,
    /// Its duration: by the clock of a real engine, by the cost model of a simulated one.
    pub elapsed: Span,
    /// Tokens in the KV cache after it.
    pub kv_used: Tokens,
}

/// The progress of one request in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Progress {
    /// The request.
    pub request: RequestId,
    /// Prompt tokens prefilled in this step.
    pub prefilled: Tokens,
    /// Set with the first chunk of a prompt: how many tokens before it were in the cache already.
    pub cached: Option<Tokens>,
    /// Whether it produced a token.
    pub produced: bool,
    /// Set with its last token: the engine has closed the request.
    pub end: Option<EndReason>,
}

/// Why an engine ended a request by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The model ended its answer.
    Stop,
    /// A stop text of the caller appeared.
    StopText,
    /// `max_output` was reached.
    Length,
}

/// Why an engine could not open a request or run a step.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineError {
    /// All sequences are taken.
    #[error("all {parallel} sequences are in use")]
    NoSequenceFree {
        /// How many sequences there are.
        parallel: u32,
    },
    /// The request is open already.
    #[error("{request} is open already")]
    AlreadyOpen {
        /// The request.
        request: RequestId,
    },
    /// The step names a request that was never opened, or was closed.
    #[error("{request} is not open")]
    NotOpen {
        /// The request.
        request: RequestId,
    },
    /// The request's state does not allow what the step orders.
    #[error("{request} cannot {what} now")]
    NotReady {
        /// The request.
        request: RequestId,
        /// What was ordered: `decode` or `prefill`.
        what: Cow<'static, str>,
    },
    /// The model computed no usable scores for the request's next token.
    #[error("the scores of {request} are not numbers")]
    BadScores {
        /// The request.
        request: RequestId,
    },
    /// Prompt and output do not fit one request's context.
    #[error("{needed} do not fit the context of {context}")]
    TooLong {
        /// Prompt and output together.
        needed: Tokens,
        /// The context.
        context: Tokens,
    },
    /// The prompt is empty, or no output is requested.
    #[error("a request needs a prompt and an output of at least one token each")]
    Empty,
    /// The KV cache has no room for the step.
    #[error("the KV cache of {kv} is full")]
    KvFull {
        /// The number of its cells.
        kv: Tokens,
    },
    /// The inference library failed.
    #[error("the inference back end failed with code {code} while {what}")]
    Backend {
        /// What it was doing.
        what: Cow<'static, str>,
        /// Its error code.
        code: i32,
    },
}

impl EngineError {
    /// The one request that the error concerns; `None` where it concerns the engine or the whole step.
    pub fn request(&self) -> Option<RequestId> {
        match *self {
            Self::AlreadyOpen { request }
            | Self::NotOpen { request }
            | Self::NotReady { request, .. }
            | Self::BadScores { request } => Some(request),
            Self::NoSequenceFree { .. }
            | Self::TooLong { .. }
            | Self::Empty
            | Self::KvFull { .. }
            | Self::Backend { .. } => None,
        }
    }
}
