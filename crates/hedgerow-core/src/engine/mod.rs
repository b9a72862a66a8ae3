//! Stage 5 of 6: the inference engine, as the core sees it.
//!
//! - takes: a [`Step`]: which requests decode one token, and how many tokens of which prompts are prefilled
//! - gives: the tokens, and a [`StepReport`] of what was done
//! - never: decides which requests run; it runs the step, or returns an error
//!
//! [`Engine`] is a trait because its implementations live in crates that the core cannot see: llama.cpp's and the
//! simulator's. [`ScriptedEngine`] is for tests. [`conformance`] is the test suite that every engine must pass.

pub mod conformance;
pub mod prefix;
mod scripted;
pub mod sequences;

pub use crate::model::cost::{self, CostModel, StepLoad};
pub use crate::model::step::{EndReason, EngineError, PrefillChunk, Progress, Step, StepReport};
pub use scripted::ScriptedEngine;

use crate::model::request::RequestId;
use crate::model::units::Tokens;

/// One entry of a model's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub i32);

/// An inference engine: it turns steps into tokens.
///
/// Requests may be opened and closed between any two steps, which is when cancellation happens; so an engine has no
/// work pending between them.
pub trait Engine {
    /// Its capacity.
    fn limits(&self) -> EngineLimits;

    /// Assigns a sequence to the request and stores its task. Runs nothing.
    ///
    /// # Errors
    ///
    /// When no sequence is free, the request is open already, or its tokens cannot fit.
    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError>;

    /// Runs one step. Each decoding request, and each one whose prompt this step completes, produces exactly one
    /// token, which goes to `sink` before this returns.
    ///
    /// When a prompt begins, an engine with prefix caching may find its first tokens in the cache. Then the first
    /// chunk begins after them, and is shorter than ordered if less is left.
    ///
    /// # Errors
    ///
    /// When the step names a request that is not open or not ready for it, or the back end fails. Then no request
    /// has advanced.
    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError>;

    /// Closes the request and frees its cells at once; does nothing if it is not open.
    fn close(&mut self, request: RequestId);

    /// Tokens in the KV cache now, over all open requests.
    fn kv_used(&self) -> Tokens;
}

/// The capacity of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// The most requests open at once.
    pub parallel: u32,
    /// The most tokens of one request, prompt and output together.
    pub context: Tokens,
    /// The most tokens of all open requests together.
    pub kv: Tokens,
}

/// What the engine needs to know about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationTask {
    /// The prompt; at least one token.
    pub prompt_tokens: Vec<TokenId>,
    /// The most tokens to produce; at least 1.
    pub max_output: Tokens,
    /// How to choose each token.
    pub sampling: Sampling,
    /// Texts that end the answer; none of them appears in it.
    pub stop: Vec<String>,
    /// Go on past an end-of-generation token, until `max_output` (for benchmarks).
    pub ignore_eos: bool,
    /// Whether an engine with prefix caching may reuse cached tokens of other requests for this prompt, and cache
    /// this request's tokens for others.
    pub cache_prompt: bool,
}

/// How to choose the next token. The defaults of each field are in `config/default.toml`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Softmax temperature; 0 always takes the likeliest token (greedy).
    pub temperature: f32,
    /// Keep only the k likeliest; 0 keeps all.
    pub top_k: u32,
    /// Keep the likeliest tokens up to this total probability; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this fraction of the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divide the logit of recent tokens by this; 1 does nothing.
    pub repeat_penalty: f32,
    /// Subtract this much per earlier occurrence; 0 does nothing.
    pub frequency_penalty: f32,
    /// Subtract this much for any earlier occurrence; 0 does nothing.
    pub presence_penalty: f32,
    /// How many of the last tokens the penalties apply to.
    pub penalty_window: u32,
    /// Seed of the sampler; the same seed, prompt and build give the same text.
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

/// One token on its way to the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Emission<'a> {
    /// Its request.
    pub request: RequestId,
    /// The token.
    pub token: TokenId,
    /// Text that became final with it: whole characters only; empty while a character is incomplete or a stop text
    /// may be beginning.
    pub text: &'a str,
    /// Set on the request's last token.
    pub end: Option<EndReason>,
}

/// A receiver of tokens.
pub trait TokenSink {
    /// Takes one token; called once per token, in the order they are produced.
    fn token(&mut self, emission: Emission<'_>);
}

impl<F: FnMut(Emission<'_>)> TokenSink for F {
    fn token(&mut self, emission: Emission<'_>) {
        self(emission);
    }
}
