//! A few seconds' look at how fast the engine is, before it promises anything.

use std::collections::BTreeMap;

use hedgerow_core::engine::cost::{Curve, MeasuredCost};
use hedgerow_core::engine::{
    Emission, Engine, EngineError, PrefillChunk, Sampling, Step, StepReport, TokenId, Work,
};
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;

/// Chunk sizes measured, in tokens.
const CHUNKS: [u32; 3] = [16, 64, 256];
/// Prompt of each request while decodes are measured.
const SHORT_PROMPT: u32 = 8;
/// Each figure is the faster of so many runs, because whatever disturbs a run makes it slower.
const RUNS: u32 = 2;

/// Measures prefill over chunk size and context, and decode over batch size and cache, with an engine
/// that has nothing open; leaves it so. Works through some 2,000 tokens.
///
/// # Errors
///
/// When the engine fails.
pub(crate) fn calibrate(engine: &mut dyn Engine, token: TokenId) -> Result<MeasuredCost, EngineError> {
    let limits = engine.limits();
    let longest = limits.context.0.min(512);
    let mut bench = Bench { engine, token };
    let mut prefill = BTreeMap::new();
    for chunk in CHUNKS.into_iter().filter(|chunk| chunk + 2 <= longest) {
        prefill.insert(chunk, bench.prefill(&[chunk])?[0]);
    }
    if prefill.is_empty() {
        prefill.insert(1, bench.prefill(&[1])?[0]);
    }
    let (prefill_context_ns, decode_kv_ns) = bench.slopes(longest)?;
    let sizes = batch_sizes(limits.parallel.min(limits.kv.0 / 64).max(1));
    let decode = bench.decodes(&sizes, SHORT_PROMPT.min(longest / 4))?;
    Ok(MeasuredCost {
        prefill: Curve::new(prefill.into_iter().collect()),
        prefill_context_ns,
        decode: Curve::new(sizes.into_iter().zip(decode).collect()),
        decode_kv_ns,
    })
}

/// 1, 2, 3, 4, 6, 8, 12, 16, … and the largest itself: kernels switch at powers of two.
fn batch_sizes(largest: u32) -> Vec<u32> {
    let powers = std::iter::successors(Some(1_u32), |power| power.checked_mul(2));
    let mut sizes: Vec<u32> =
        powers.flat_map(|power| [power, power + power / 2]).take_while(|&size| size < largest).collect();
    sizes.push(largest);
    sizes.dedup();
    sizes
}

struct Bench<'a> {
    engine: &'a mut dyn Engine,
    token: TokenId,
}

impl Bench<'_> {
    /// The fastest times of one prompt's chunks, run one after the other.
    fn prefill(&mut self, chunks: &[u32]) -> Result<Vec<Span>, EngineError> {
        let mut fastest = vec![Span::MAX; chunks.len()];
        for _ in 0..RUNS {
            self.open(1, chunks.iter().sum(), 2)?;
            for (fastest, &chunk) in fastest.iter_mut().zip(chunks) {
                *fastest = self.chunk(0, chunk)?.elapsed.min(*fastest);
            }
            self.close(1);
        }
        Ok(fastest)
    }

    /// What a token of context adds to a token of prefill, and a token of cache to a decode step, in ns.
    fn slopes(&mut self, longest: u32) -> Result<(f64, f64), EngineError> {
        let chunk = longest / 8;
        if chunk < SHORT_PROMPT {
            return Ok((0.0, 0.0));
        }
        let context = 3 * chunk;
        let times = self.prefill(&[chunk, context, chunk])?;
        let pairs = f64::from(chunk) * f64::from(chunk + context);
        let per_pair = times[2].saturating_sub(times[0]).0 as f64 / pairs;
        let empty = self.decodes(&[1], SHORT_PROMPT)?[0];
        let full = self.decodes(&[1], context)?[0];
        Ok((per_pair, full.saturating_sub(empty).0 as f64 / f64::from(context - SHORT_PROMPT)))
    }

    /// The fastest steps in which each of `counts` requests decode, the largest count last.
    fn decodes(&mut self, counts: &[u32], prompt: u32) -> Result<Vec<Span>, EngineError> {
        let largest = *counts.last().expect("there is a count to measure");
        // One token comes with the prompt, one in each step, and one is never asked for.
        self.open(largest, prompt, RUNS * counts.len() as u32 + 2)?;
        for id in 0..u64::from(largest) {
            self.chunk(id, prompt)?;
        }
        let mut fastest = Vec::new();
        for &count in counts {
            let step = Step { decode: (0..u64::from(count)).map(RequestId).collect(), ..Step::default() };
            let mut times = Vec::new();
            for _ in 0..RUNS {
                times.push(self.run(&step)?.elapsed.max(Span(1)));
            }
            fastest.extend(times.into_iter().min());
        }
        self.close(largest);
        Ok(fastest)
    }

    fn chunk(&mut self, id: u64, tokens: u32) -> Result<StepReport, EngineError> {
        let chunk = PrefillChunk { request: RequestId(id), tokens: Tokens(tokens) };
        self.run(&Step { prefill: vec![chunk], ..Step::default() })
    }

    fn run(&mut self, step: &Step) -> Result<StepReport, EngineError> {
        self.engine.step(step, &mut |_: Emission<'_>| {})
    }

    fn open(&mut self, count: u32, prompt: u32, max_output: u32) -> Result<(), EngineError> {
        for id in 0..u64::from(count) {
            let work = Work {
                prompt: vec![self.token; prompt as usize],
                max_output: Tokens(max_output),
                sampling: Sampling::GREEDY,
                stop: Vec::new(),
                ignore_eos: true,
                cache_prompt: false,
            };
            self.engine.open(RequestId(id), work)?;
        }
        Ok(())
    }

    fn close(&mut self, count: u32) {
        (0..u64::from(count)).for_each(|id| self.engine.close(RequestId(id)));
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::{EngineLimits, ScriptedEngine};

    use super::*;

    #[test]
    fn reads_a_constant_step_time_off_an_engine_that_has_one() {
        let limits = EngineLimits { parallel: 6, context: Tokens(600), kv: Tokens(3600) };
        let mut engine = ScriptedEngine::new(limits, Span::from_millis(3));
        let cost = calibrate(&mut engine, TokenId(0)).unwrap();
        assert_eq!(cost.prefill.at(64), Span::from_millis(3));
        assert_eq!(cost.decode.at(1), Span::from_millis(3));
        assert_eq!(cost.decode.at(6), Span::from_millis(3));
        assert_eq!((cost.prefill_context_ns, cost.decode_kv_ns), (0.0, 0.0));
        assert_eq!(engine.kv_used(), Tokens::ZERO);
    }

    #[test]
    fn gets_along_with_an_engine_of_one_tiny_sequence() {
        let limits = EngineLimits { parallel: 1, context: Tokens(24), kv: Tokens(24) };
        let mut engine = ScriptedEngine::new(limits, Span::from_millis(3));
        assert_eq!(calibrate(&mut engine, TokenId(0)).unwrap().decode.at(1), Span::from_millis(3));
    }

    #[test]
    fn measures_every_batch_size_at_which_kernels_may_switch() {
        assert_eq!(batch_sizes(16), [1, 2, 3, 4, 6, 8, 12, 16]);
        assert_eq!(batch_sizes(1), [1]);
    }
}
