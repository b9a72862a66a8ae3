//! Cost models: predictions of step times (`model.md §1`).
//!
//! - `flops`, the paper's: arithmetic only, additive over requests.
//! - `roofline`: the slower of arithmetic and memory traffic, so that batching decodes pays off.
//! - `measured`: tables measured on the node.

mod flops;
mod measured;
mod roofline;
mod surface;

pub use flops::{Attention, FlopsCost};
pub use measured::{MeasuredCost, PROFILE_FORMAT};
pub use roofline::RooflineCost;
pub use surface::{Line, Surface, SurfaceError};

use crate::model::node::ModelShape;
use crate::model::precision::Precision;
use crate::model::time::Span;
use crate::model::units::Tokens;

/// One of the three cost models.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostModel {
    /// The paper's.
    Flops(FlopsCost),
    /// Arithmetic or memory traffic, whichever is slower.
    Roofline(RooflineCost),
    /// Tables measured on the node; a precision's own tables take precedence.
    Measured(MeasuredCost),
}

/// The properties of a step that determine its cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepLoad {
    /// Prompt chunks.
    pub prefill: Vec<ChunkLoad>,
    /// Requests that decode one token.
    pub decode_count: u32,
    /// Tokens that these requests hold in the KV cache, in total.
    pub decode_kv: u64,
    /// The most tokens that one of them holds: llama.cpp processes as many cells for every request of a step.
    pub decode_longest: Tokens,
}

impl StepLoad {
    /// The load of a step that decodes requests with these caches.
    pub fn of_decodes(caches: impl Iterator<Item = Tokens>) -> Self {
        let mut load = Self::default();
        for cache in caches {
            load.decode_count += 1;
            load.decode_kv += u64::from(cache.0);
            load.decode_longest = load.decode_longest.max(cache);
        }
        load
    }
}

/// The properties of a prompt chunk that determine its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLoad {
    /// Tokens of this chunk.
    pub tokens: Tokens,
    /// Prompt tokens before it.
    pub start: Tokens,
    /// The whole prompt, padding included.
    pub prompt: Tokens,
}

impl ChunkLoad {
    /// A whole prompt in one chunk.
    pub fn whole(prompt: Tokens) -> Self {
        Self { tokens: prompt, start: Tokens::ZERO, prompt }
    }

    /// Whether the chunk completes the prompt, so that its step produces a token.
    pub fn is_last(&self) -> bool {
        self.start + self.tokens == self.prompt
    }
}

impl CostModel {
    /// Whether a step takes the sum of its parts' times, so that batching gains nothing.
    pub fn is_additive(&self) -> bool {
        matches!(self, Self::Flops(_))
    }

    /// How long one step takes at a precision.
    pub fn step(&self, model: &ModelShape, precision: &Precision, load: &StepLoad) -> Span {
        match self {
            Self::Flops(cost) => cost.step(model, precision, load),
            Self::Roofline(cost) => cost.step(model, precision, load),
            Self::Measured(cost) => precision.measured.as_ref().unwrap_or(cost).step(load),
        }
    }

    /// How long a prompt takes by itself, in chunks of at most `chunk` tokens.
    pub fn prefill(
        &self,
        model: &ModelShape,
        precision: &Precision,
        prompt: Tokens,
        start: Tokens,
        chunk: Tokens,
    ) -> Span {
        let mut total = Span::ZERO;
        let mut done = start;
        while done < prompt {
            let tokens = chunk.min(prompt - done);
            let load =
                StepLoad { prefill: vec![ChunkLoad { tokens, start: done, prompt }], ..StepLoad::default() };
            total += self.step(model, precision, &load);
            done = done + tokens;
        }
        total
    }

    /// How long a decode step takes of `count` requests that hold `kv` tokens each.
    pub fn decode(&self, model: &ModelShape, precision: &Precision, count: u32, kv: Tokens) -> Span {
        let decode_kv = u64::from(count) * u64::from(kv.0);
        self.step(
            model,
            precision,
            &StepLoad { prefill: Vec::new(), decode_count: count, decode_kv, decode_longest: kv },
        )
    }
}
