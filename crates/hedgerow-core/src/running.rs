//! A request that has been chosen: what it holds and how far it is.

use crate::allocator::Grant;
use crate::engine::cost::ChunkLoad;
use crate::engine::{Step, StepLoad};
use crate::quantization::PrecisionIndex;
use crate::request::Request;
use crate::time::{Instant, Span};
use crate::units::Tokens;

/// A request between its choice and its last token.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// What was asked.
    pub request: Request,
    /// The precision it runs at.
    pub precision: PrecisionIndex,
    /// What it holds of the node.
    pub grant: Grant,
    /// Its prompt's length, padding included.
    pub prompt: Tokens,
    /// When it was chosen.
    pub started: Instant,
    /// When its next step may begin: its prompt is here. Without batching also: its accelerator, which is slower
    /// than the node, would be done with the steps before.
    pub ready: Instant,
    /// Prompt tokens that the engine's cache held: as expected until its first step, then as found.
    pub cached: Tokens,
    /// Prompt tokens worked through, or in the cache already.
    pub prefilled: Tokens,
    /// Tokens produced.
    pub produced: Tokens,
    /// When its first token came.
    pub first_token: Option<Instant>,
    /// When its latest token came.
    pub last_token: Option<Instant>,
}

impl Running {
    /// Prompt tokens still to do.
    pub fn prompt_left(&self) -> Tokens {
        self.prompt - self.prefilled
    }

    /// Whether its prompt is done, so that it decodes.
    pub fn is_decoding(&self) -> bool {
        self.prompt_left() == Tokens::ZERO
    }

    /// Decode steps that are expected to come: the first token comes with the prompt's last chunk. At least
    /// one as long as it goes on.
    pub fn decodes_left(&self) -> u32 {
        let Request { expected_output, max_output, .. } = self.request;
        expected_output.max(self.produced + Tokens(1)).min(max_output).0 - self.produced.0.max(1)
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

/// What a step costs, given those who run as they were when it was ordered.
pub fn load_of(step: &Step, running: &[Running]) -> StepLoad {
    let mut load = StepLoad::default();
    for running in running {
        let id = running.request.id;
        if let Some(chunk) = step.prefill.iter().find(|chunk| chunk.request == id) {
            load.prefill.push(ChunkLoad {
                tokens: chunk.tokens,
                start: running.prefilled,
                prompt: running.prompt,
            });
        } else if step.decode.contains(&id) {
            load.decode_count += 1;
            load.decode_kv += u64::from(running.kv().0);
            load.decode_longest = load.decode_longest.max(running.kv());
        }
    }
    load
}
