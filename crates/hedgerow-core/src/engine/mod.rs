//! Stage 5 of 6: the inference engine, as the core sees it.
//!
//! - takes: a [`Step`]: which requests decode one token, and which prompt gets how far
//! - gives: the tokens, and a [`StepReport`] of what was done
//! - never: decides who runs; it runs what the step says, or says why it cannot
//!
//! [`Engine`] is a trait because its implementations live in crates that the core cannot see:
//! llama.cpp's and the simulator's. [`ScriptedEngine`] is the one the core's own tests use.
//! [`conformance`] holds what every one of them must do.

pub mod conformance;
pub mod cost;
pub mod prefix;
mod scripted;
pub mod sequences;
mod step;

pub use cost::{CostModel, StepLoad};
pub use scripted::ScriptedEngine;
pub use step::{PrefillChunk, Progress, Step, StepReport};

use std::borrow::Cow;

use crate::request::RequestId;
use crate::units::Tokens;

/// One entry of a model's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub i32);

/// A thing that turns steps into tokens.
///
/// Between two steps requests may be opened and closed at will: that is where cancellation happens,
/// so an engine keeps no work of its own between them.
pub trait Engine {
    /// What it can hold.
    fn limits(&self) -> EngineLimits;

    /// Gives the request a sequence of its own and remembers what to do for it. Runs nothing.
    ///
    /// # Errors
    ///
    /// When no sequence is free, the request is open already, or its tokens cannot fit.
    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError>;

    /// Runs one step. Each decoding request, and each one whose prompt this step completes, produces
    /// exactly one token, which goes to `sink` before this returns.
    ///
    /// When a prompt begins, an engine that remembers may find its first tokens in the cache. Then the
    /// first chunk begins after them, and is shorter than asked for if less is left.
    ///
    /// # Errors
    ///
    /// When the step names a request that is not open or not ready for it, or the back end fails.
    /// No request has advanced then.
    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError>;

    /// Forgets the request and frees its cells at once; does nothing if it is not open.
    fn close(&mut self, request: RequestId);

    /// Tokens held in the KV cache now, over all open requests.
    fn kv_used(&self) -> Tokens;
}

/// What an engine can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Requests open at once.
    pub parallel: u32,
    /// Tokens one request may hold, prompt and output together.
    pub context: Tokens,
    /// Tokens all open requests together may hold.
    pub kv: Tokens,
}

/// What the engine needs to know about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationTask {
    /// The prompt; at least one token.
    pub prompt: Vec<TokenId>,
    /// The most tokens to produce; at least 1.
    pub max_output: Tokens,
    /// How to choose each token.
    pub sampling: Sampling,
    /// Texts that end the answer; none of them appears in it.
    pub stop: Vec<String>,
    /// Go on past an end-of-generation token, until `max_output` (for benchmarks).
    pub ignore_eos: bool,
    /// Whether an engine that remembers may begin this prompt with what others have left in its cache, and
    /// keep this request's tokens for others.
    pub cache_prompt: bool,
}

/// How to choose the next token. The defaults of each field are in `config/default.toml`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Sharpness; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Keep only the k likeliest; 0 keeps all.
    pub top_k: u32,
    /// Keep the likeliest tokens up to this total probability; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this fraction of the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divide the score of tokens seen lately by this; 1 does nothing.
    pub repeat_penalty: f32,
    /// Take this much off per earlier appearance; 0 does nothing.
    pub frequency_penalty: f32,
    /// Take this much off for having appeared at all; 0 does nothing.
    pub presence_penalty: f32,
    /// How many of the last tokens the penalties look at.
    pub penalty_window: u32,
    /// Seed of the draw; the same seed, prompt and build give the same text.
    pub seed: u32,
}

impl Sampling {
    /// Always the likeliest token, no penalties.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        penalty_window: 64,
        seed: 0,
    };
}

/// Why an engine stopped producing for a request by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The model ended its answer, or a stop text appeared.
    Stop,
    /// `max_output` was reached.
    Length,
}

/// One token on its way to the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Emission<'a> {
    /// Whose it is.
    pub request: RequestId,
    /// Which token.
    pub token: TokenId,
    /// Text that became certain with it: whole characters only; empty while a character is incomplete
    /// or a stop text may be beginning.
    pub text: &'a str,
    /// Set on the request's last token.
    pub end: Option<EndReason>,
}

/// Where tokens go.
pub trait TokenSink {
    /// Takes one token; called once per token, in the order they are produced.
    fn token(&mut self, emission: Emission<'_>);
}

impl<F: FnMut(Emission<'_>)> TokenSink for F {
    fn token(&mut self, emission: Emission<'_>) {
        self(emission);
    }
}

/// Why an engine could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineError {
    /// All sequences are taken.
    #[error("all {parallel} sequences are in use")]
    NoSequenceFree {
        /// How many there are.
        parallel: u32,
    },
    /// The same request was opened twice.
    #[error("{request} is open already")]
    AlreadyOpen {
        /// Which request.
        request: RequestId,
    },
    /// The step names a request that was never opened, or was closed.
    #[error("{request} is not open")]
    NotOpen {
        /// Which request.
        request: RequestId,
    },
    /// The step asks a request for something its state does not allow.
    #[error("{request} cannot {what} now")]
    NotReady {
        /// Which request.
        request: RequestId,
        /// What was asked of it: `decode` or `prefill`.
        what: Cow<'static, str>,
    },
    /// Prompt and output do not fit one request's context.
    #[error("{needed} do not fit the context of {context}")]
    TooLong {
        /// Prompt and output together.
        needed: Tokens,
        /// What fits.
        context: Tokens,
    },
    /// A prompt with no token, or no output asked for.
    #[error("a request needs a prompt and an output of at least one token each")]
    Empty,
    /// The KV cache has no room for the step.
    #[error("the KV cache of {kv} is full")]
    KvFull {
        /// All its cells.
        kv: Tokens,
    },
    /// The library beneath failed.
    #[error("the inference back end failed with code {code} while {what}")]
    Backend {
        /// What it was doing.
        what: Cow<'static, str>,
        /// Its own code.
        code: i32,
    },
}
