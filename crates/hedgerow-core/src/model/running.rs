//! A running request: the resources that it holds, and its progress.

use crate::model::cost::ChunkLoad;
use crate::model::cost::StepLoad;
use crate::model::grant::Grant;
use crate::model::precision::PrecisionIndex;
use crate::model::request::Request;
use crate::model::step::Step;
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;

/// A request between its start and its last token.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// The request.
    pub request: Request,
    /// The precision that it runs at.
    pub precision: PrecisionIndex,
    /// The resources that it holds.
    pub grant: Grant,
    /// Its prompt's length, padding included.
    pub padded_len: Tokens,
    /// When it started.
    pub started: Instant,
    /// When its next step may begin: once its prompt has arrived. Without batching, also not before its accelerator,
    /// which is slower than the node, would have finished its earlier steps.
    pub ready: Instant,
    /// Prompt tokens that the engine's cache held: as expected until its first step, then as reported.
    pub cached: Tokens,
    /// Prompt tokens prefilled, or in the cache already.
    pub prefilled: Tokens,
    /// Tokens produced.
    pub produced: Tokens,
    /// When its first token came.
    pub first_token: Option<Instant>,
    /// When its latest token came.
    pub last_token: Option<Instant>,
}

impl Running {
    /// Prompt tokens left to prefill.
    pub fn prompt_left(&self) -> Tokens {
        self.padded_len - self.prefilled
    }

    /// Whether its prompt is prefilled, so that it decodes.
    pub fn is_decoding(&self) -> bool {
        self.prompt_left() == Tokens::ZERO
    }

    /// Decode steps that it is expected to need; the first token comes with the prompt's last chunk. At least one
    /// until it has ended.
    pub fn decodes_left(&self) -> u32 {
        let Request { expected_output, max_output, .. } = self.request;
        expected_output.max(self.produced + Tokens(1)).min(max_output).0 - self.produced.0.max(1)
    }

    /// The part of its tokens that is done, from 0 to 1.
    pub fn part_done(&self) -> f64 {
        let done = (self.prefilled.saturating_sub(self.cached) + self.produced).0;
        let left = self.prompt_left().0 + self.decodes_left();
        f64::from(done) / f64::from((done + left).max(1))
    }

    /// Tokens it holds in the KV cache.
    pub fn kv(&self) -> Tokens {
        self.prefilled + self.produced.saturating_sub(Tokens(1))
    }
}

/// TPOT: (last − first) / (tokens − 1); `None` with fewer than two tokens.
pub(crate) fn tpot(first: Option<Instant>, last: Option<Instant>, produced: Tokens) -> Option<Span> {
    let gaps = produced.0.checked_sub(1).filter(|&gaps| gaps > 0)?;
    Some(Span(last?.since(first?).0 / u64::from(gaps)))
}

/// A step's load, given the running requests as they were when it was ordered.
pub fn load_of(step: &Step, running: &[Running]) -> StepLoad {
    let decoding = running.iter().filter(|running| step.decode.contains(&running.request.id));
    let prefill = running.iter().filter_map(|running| {
        let chunk = step.prefill.iter().find(|chunk| chunk.request == running.request.id)?;
        Some(ChunkLoad { tokens: chunk.tokens, start: running.prefilled, prompt: running.padded_len })
    });
    StepLoad { prefill: prefill.collect(), ..StepLoad::of_decodes(decoding.map(Running::kv)) }
}
