//! The measured cost model: tables of step times measured on the node.
//!
//! Kernels change at batch sizes of 2, 8, 16 and so on, and attention grows with the cache, so a fitted plane would
//! be wrong by a factor of up to two: the tables store the measured points.

use serde::{Deserialize, Serialize};

use super::{StepLoad, Surface};
use crate::model::time::Span;

/// The format name of the profiles that `hedgerow profile` saves and that scenarios name.
pub const PROFILE_FORMAT: &str = "hedgerow-profile/1";

/// Step times of one precision: `prefill(tokens, context)` and `decode(requests, kv)` (`model.md §1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredCost {
    /// Time of a prompt chunk, by its tokens (count) and the prompt tokens before it (depth).
    pub prefill: Surface,
    /// Time of a decode step, by its requests (count) and their total KV tokens (depth), each counted with the tokens
    /// of the longest.
    pub decode: Surface,
    /// Time of a step with chunks and decodes beyond the sum of both, in nanoseconds.
    pub mixed_ns: u64,
}

impl MeasuredCost {
    /// How long one step takes: the sum over its chunks, the time of its decodes, and `mixed_ns` if it has both.
    pub fn step(&self, load: &StepLoad) -> Span {
        let mut total = Span::ZERO;
        for chunk in &load.prefill {
            total += self.prefill.at(chunk.tokens.0, chunk.start.0.into());
        }
        if load.decode_count > 0 {
            // llama.cpp processes as many cells for each request as for the longest.
            let cells = u64::from(load.decode_count) * u64::from(load.decode_longest.0);
            total += self.decode.at(load.decode_count, cells);
            if !load.prefill.is_empty() {
                total += Span(self.mixed_ns);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChunkLoad, Line};
    use super::*;
    use crate::model::units::Tokens;

    fn cost() -> MeasuredCost {
        let line = |count, times_ns: &[(u32, u64)]| Line { count, times_ns: times_ns.to_vec() };
        MeasuredCost {
            prefill: Surface::new(vec![line(64, &[(0, 6_400), (1_000, 8_400)])]).unwrap(),
            decode: Surface::new(vec![line(1, &[(0, 60)]), line(4, &[(0, 180), (4_000, 580)])]).unwrap(),
            mixed_ns: 11,
        }
    }

    fn chunk(tokens: u32, start: u32) -> ChunkLoad {
        ChunkLoad { tokens: Tokens(tokens), start: Tokens(start), prompt: Tokens(2_000) }
    }

    #[test]
    fn a_step_takes_the_sum_of_its_parts_and_more_when_it_has_both() {
        let chunks = StepLoad { prefill: vec![chunk(64, 500), chunk(32, 0)], ..StepLoad::default() };
        assert_eq!(cost().step(&chunks), Span(7_400 + 3_200));
        let decodes =
            StepLoad { decode_count: 4, decode_kv: 900, decode_longest: Tokens(500), ..StepLoad::default() };
        assert_eq!(cost().step(&decodes), Span(380));
        let both = StepLoad { prefill: chunks.prefill, ..decodes };
        assert_eq!(cost().step(&both), Span(7_400 + 3_200 + 380 + 11));
        assert_eq!(cost().step(&StepLoad::default()), Span::ZERO);
    }
}
