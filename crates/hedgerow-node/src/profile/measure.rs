//! Measures the step times of an engine.
//!
//! Each figure is the median of several runs. The fastest run would be the most reproducible, but a server's step is
//! disturbed as often as a step here, and admissions based on times that are rarely reached miss their deadlines; a
//! single disturbed run moves the median little.

use std::collections::BTreeMap;

use hedgerow_core::engine::cost::{Line, MeasuredCost, Surface};
use hedgerow_core::engine::{
    Emission, Engine, EngineError, GenerationTask, PrefillChunk, Sampling, ScriptedEngine, Step, TokenId,
};
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;

/// Input of a measurement.
#[derive(Clone, Debug)]
pub struct Probe {
    /// A text that prompts are cut from, each at another offset: the experts of a mixture must not all see the same
    /// token.
    pub text: Vec<TokenId>,
    /// The sampling settings: sampling takes time too.
    pub sampling: Sampling,
    /// The largest prefill chunk.
    pub prefill_chunk: Tokens,
}

/// Progress of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// A stage begins.
    Stage(Stage),
    /// Number of tokens processed so far, prompt and output together.
    Worked(u64),
}

/// A stage of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Prefill of chunks of up to so many tokens.
    Prompts { largest: u32 },
    /// Decode steps of up to so many requests, one of which holds `depth` tokens.
    Decodes { requests: u32, depth: u32 },
    /// Mixed steps, with a chunk and decodes.
    Mixed,
}

/// Callback for progress.
pub(super) type Report<'a> = &'a dyn Fn(Progress);

/// Result of a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub cost: MeasuredCost,
    /// Excess of the median over the fastest of several runs of one step, averaged over all steps.
    pub(crate) scatter_percent: u32,
}

/// Number of runs of each step.
const RUNS: usize = 3;
/// Chunk sizes below the largest one. A chunk of one token takes as long as a decode, far from its proportional
/// share.
const CHUNKS: [u32; 8] = [1, 4, 16, 32, 64, 128, 256, 512];
/// Tokens that the deepest request holds while decodes are measured: each in the middle of a block of 256 cells, the
/// unit in which llama.cpp's attention grows, so that lines through these points are right on average.
const DEPTHS: [u32; 3] = [128, 384, 1152];
/// Prompt length of the requests other than the deepest one.
const SHORT_PROMPT: u32 = 8;
/// After this much step time, on a slow or busy machine, each figure is one run, and requests that would take longer
/// to fill are left out: the surface is extrapolated with the last slope.
const BUDGET: Span = Span::from_millis(30_000);
/// Tokens of each chunk that is measured together with decodes.
const MIXED_CHUNK: u32 = 32;

/// Measures prefill over chunk and context, decode over requests and cache, and mixed steps, with an engine that has
/// no open requests; closes the requests it opens.
///
/// # Errors
///
/// When the engine fails, or its requests are too short to hold three tokens.
pub(super) fn measure(
    engine: &mut dyn Engine,
    probe: &Probe,
    report: Report<'_>,
) -> Result<Measured, EngineError> {
    let limits = engine.limits();
    let (chunks, decodes) = (BTreeMap::new(), BTreeMap::new());
    let mut bench =
        Bench { engine, probe, report, worked: 0, spent: Span::ZERO, chunks, decodes, scatter: Vec::new() };
    let chunks = chunk_sizes(probe.prefill_chunk.0, limits.context.0);
    let (&largest, smaller) = chunks.split_last().expect("there is a chunk of one token");
    report(Progress::Stage(Stage::Prompts { largest }));
    bench.warm_up()?;
    bench.prompts(smaller, RUNS)?;
    bench.prompts(&[largest], RUNS)?;
    let sizes = batch_sizes(limits.parallel);
    for (index, depth) in depths(limits.context.0, limits.kv.0, sizes.len() as u32).into_iter().enumerate() {
        if index > 0 && bench.spent + bench.token_time(largest) * depth > BUDGET {
            break;
        }
        report(Progress::Stage(Stage::Decodes { requests: limits.parallel, depth }));
        bench.decodes(&sizes, depth, &chunks)?;
    }
    let mut cost = MeasuredCost { prefill: bench.prefill(), decode: bench.decode(), mixed_ns: 0 };
    report(Progress::Stage(Stage::Mixed));
    cost.mixed_ns = bench.mixed(&cost)?;
    Ok(Measured { cost, scatter_percent: bench.scatter_percent() })
}

/// Returns the number of tokens that [`measure`] will process, unless the engine is slow.
pub(crate) fn tokens_to_work(engine: &dyn Engine, probe: &Probe) -> Result<u64, EngineError> {
    let worked = std::cell::Cell::new(0);
    let mut scripted = ScriptedEngine::new(engine.limits(), Span(1));
    measure(&mut scripted, probe, &|progress| match progress {
        Progress::Worked(now) => worked.set(now),
        Progress::Stage(_) => {}
    })?;
    Ok(worked.get())
}

/// Returns 1, 2, 3, 4, 6, 8, 12, 16, … and the largest itself: kernels switch at powers of two.
fn batch_sizes(largest: u32) -> Vec<u32> {
    let powers = std::iter::successors(Some(1_u32), |power| power.checked_mul(2));
    let mut sizes: Vec<u32> =
        powers.flat_map(|power| [power, power + power / 2]).take_while(|&size| size < largest).collect();
    sizes.push(largest);
    sizes.dedup();
    sizes
}

/// Returns the chunk sizes to measure: up to the largest, as long as the context has room for all of them in
/// sequence.
fn chunk_sizes(largest: u32, context: u32) -> Vec<u32> {
    let mut sizes: Vec<u32> = CHUNKS.into_iter().filter(|&size| size < largest).collect();
    sizes.push(largest.min(2 * CHUNKS[CHUNKS.len() - 1]));
    let mut room = context.saturating_sub(2);
    sizes.retain(|&size| {
        let fits = size <= room;
        room -= if fits { size } else { room };
        fits
    });
    if sizes.is_empty() { vec![1] } else { sizes }
}

/// Returns the depths of the deepest request at which decodes are measured; at least one.
fn depths(context: u32, kv: u32, sizes: u32) -> Vec<u32> {
    let steps = sizes * RUNS as u32 + 2;
    let mut depths: Vec<u32> =
        DEPTHS.into_iter().filter(|depth| depth + steps <= context && depth + steps <= kv).collect();
    if depths.is_empty() {
        depths.push((context / 4).max(1));
    }
    depths
}

/// Returns the median; the lower one for an even count.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

/// Returns the median of some runs over the fastest; `None` for fewer than three, whose median is the fastest or
/// nearly so.
fn scatter(times: &[Span]) -> Option<f64> {
    let fastest = times.iter().min().filter(|_| times.len() >= RUNS)?;
    Some(median(times.to_vec()).0 as f64 / fastest.0.max(1) as f64)
}

struct Bench<'a> {
    engine: &'a mut dyn Engine,
    probe: &'a Probe,
    report: Report<'a>,
    worked: u64,
    /// Step time so far.
    spent: Span,
    /// Times of each chunk size at each depth.
    chunks: BTreeMap<u32, BTreeMap<u32, Vec<Span>>>,
    /// For each batch size, the tokens held and the time in nanoseconds, in ascending order.
    decodes: BTreeMap<u32, Vec<(u32, u64)>>,
    /// For each decode step that was run several times: the median time over the fastest.
    scatter: Vec<f64>,
}

impl Bench<'_> {
    /// Runs a step without recording its time: it reads the weights from the disk and builds the graph.
    fn warm_up(&mut self) -> Result<(), EngineError> {
        self.open(0, 1, 1)?;
        self.chunk(0, 1)?;
        self.engine.close(RequestId(0));
        Ok(())
    }

    /// Prefills a prompt of these chunks, `runs` times.
    fn prompts(&mut self, chunks: &[u32], runs: usize) -> Result<(), EngineError> {
        if chunks.is_empty() {
            return Ok(());
        }
        for run in 0..runs {
            if run > 0 && self.spent > BUDGET {
                break;
            }
            self.open(0, chunks.iter().sum(), 1)?;
            self.work_through(0, chunks)?;
            self.engine.close(RequestId(0));
        }
        Ok(())
    }

    /// Runs the chunks of one prompt in sequence, and records their times.
    fn work_through(&mut self, start: u32, chunks: &[u32]) -> Result<(), EngineError> {
        let mut depth = start;
        for &chunk in chunks {
            let time = self.chunk(0, chunk)?;
            self.chunks.entry(chunk).or_default().entry(depth).or_default().push(time);
            depth += chunk;
        }
        Ok(())
    }

    /// Returns the time per token of the largest chunk.
    fn token_time(&self, largest: u32) -> Span {
        let times = self.chunks.get(&largest).and_then(|depths| depths.first_key_value());
        times.map_or(Span::ZERO, |(_, times)| Span(median(times.clone()).0 / u64::from(largest)))
    }

    fn decode(&self) -> Surface {
        let line = |(&count, times_ns): (&u32, &Vec<_>)| Line { count, times_ns: times_ns.clone() };
        Surface::new(self.decodes.iter().map(line).collect()).expect("each depth is above the one before")
    }

    fn prefill(&self) -> Surface {
        let lines = self.chunks.iter().map(|(&count, depths)| Line {
            count,
            times_ns: depths.iter().map(|(&depth, times)| (depth, median(times.clone()).0)).collect(),
        });
        Surface::new(lines.collect()).expect("chunks and depths are keys of maps")
    }

    /// Returns the mean excess of each step's median over its fastest run.
    fn scatter_percent(&self) -> u32 {
        let of_chunks = self.chunks.values().flat_map(BTreeMap::values).filter_map(|times| scatter(times));
        let all: Vec<f64> = of_chunks.chain(self.scatter.iter().copied()).collect();
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        (100.0 * (mean - 1.0).max(0.0)).round() as u32
    }

    /// Measures the decode step of each batch size.
    ///
    /// One request holds `depth` tokens and the others next to nothing, and the result counts for a batch in which
    /// all requests hold `depth` tokens: llama.cpp gives every request of a step as many cells as the longest of them
    /// has (`llama_kv_cache::get_n_kv`), so this is the time of a step of equally long requests, without prefilling
    /// all of them.
    fn decodes(&mut self, sizes: &[u32], depth: u32, chunks: &[u32]) -> Result<(), EngineError> {
        let limits = self.engine.limits();
        let largest = sizes[sizes.len() - 1];
        let room = limits.context.0.saturating_sub(depth + 1);
        let steps = (sizes.len() * RUNS).min(room as usize).max(1);
        self.open(0, depth, steps as u32 + 1)?;
        self.fill(depth, chunks)?;
        self.open_short(1..largest, depth, steps as u32 + 1)?;
        let mut times: BTreeMap<u32, Vec<(u32, Span)>> = BTreeMap::new();
        // The largest batch first: it matters most if there is room for a few steps only.
        let in_turn = std::iter::repeat_n(sizes.iter().rev(), RUNS).flatten();
        for (step, &count) in in_turn.take(steps).enumerate() {
            if step >= sizes.len() && self.spent > BUDGET {
                break;
            }
            let decode = (0..u64::from(count)).map(RequestId).collect();
            let time = self.run(&Step { decode, ..Step::default() })?;
            times.entry(count).or_default().push((depth + step as u32, time));
        }
        (0..largest).for_each(|id| self.engine.close(RequestId(id.into())));
        for (count, runs) in times {
            let each = median(runs.iter().map(|run| run.0).collect());
            let times: Vec<Span> = runs.iter().map(|run| run.1).collect();
            self.scatter.extend(scatter(&times));
            let time = median(times);
            self.decodes.entry(count).or_default().push((count.saturating_mul(each), time.0));
        }
        Ok(())
    }

    /// Prefills request 0: the largest chunk repeatedly, then one of each other size, then the rest.
    fn fill(&mut self, depth: u32, chunks: &[u32]) -> Result<(), EngineError> {
        let (&largest, smaller) = chunks.split_last().expect("there is a chunk of one token");
        let all_smaller: u32 = smaller.iter().sum();
        let mut done = 0;
        while done + largest + all_smaller <= depth {
            self.work_through(done, &[largest])?;
            done += largest;
        }
        for &chunk in smaller {
            if done + chunk <= depth {
                self.work_through(done, &[chunk])?;
                done += chunk;
            }
        }
        if done < depth {
            // The size is not one of the measured ones, so its time is not recorded.
            self.chunk(0, depth - done)?;
        }
        Ok(())
    }

    /// Returns the median excess of a mixed step over the sum of its chunk and its decodes.
    fn mixed(&mut self, cost: &MeasuredCost) -> Result<u64, EngineError> {
        let limits = self.engine.limits();
        let others = limits.parallel - 1;
        let steps = if others > 1 { 2 * RUNS as u32 } else { RUNS as u32 };
        let chunk = MIXED_CHUNK.min(self.probe.prefill_chunk.0);
        // The decodes hold less than the smallest measured depth, and fall into the table's first column.
        let context = limits.context.0.min(DEPTHS[0]);
        if others == 0 || steps * chunk + 2 > limits.context.0 || SHORT_PROMPT + steps + 2 > context {
            return Ok(0);
        }
        let prompt = others;
        self.open_short(0..others, SHORT_PROMPT, steps + 1)?;
        self.open(prompt, steps * chunk + 1, 1)?;
        let mut excess: Vec<i64> = Vec::new();
        for step in 0..steps {
            if step > 0 && self.spent > BUDGET {
                break;
            }
            // Alternates between all other requests and one of them.
            let count = if step % 2 == 0 { others } else { 1 };
            let prefill = vec![PrefillChunk { request: RequestId(prompt.into()), tokens: Tokens(chunk) }];
            let decode: Vec<_> = (others - count..others).map(|id| RequestId(id.into())).collect();
            let time = self.run(&Step { prefill, decode, ..Step::default() })?;
            let sum = cost.prefill.at(chunk, (step * chunk).into()) + cost.decode.at(count, 0);
            excess.push(time.0 as i64 - sum.0 as i64);
        }
        (0..limits.parallel).for_each(|id| self.engine.close(RequestId(id.into())));
        Ok(u64::try_from(median(excess)).unwrap_or(0))
    }

    /// Opens requests with a short prompt and prefills all of them in one step.
    fn open_short(
        &mut self,
        ids: std::ops::Range<u32>,
        prompt_max: u32,
        outputs: u32,
    ) -> Result<(), EngineError> {
        let prompt = SHORT_PROMPT.min(prompt_max);
        let mut prefill = Vec::new();
        for id in ids {
            self.open(id, prompt, outputs)?;
            prefill.push(PrefillChunk { request: RequestId(id.into()), tokens: Tokens(prompt) });
        }
        self.run(&Step { prefill, ..Step::default() })?;
        Ok(())
    }

    fn chunk(&mut self, id: u32, tokens: u32) -> Result<Span, EngineError> {
        let chunk = PrefillChunk { request: RequestId(id.into()), tokens: Tokens(tokens) };
        self.run(&Step { prefill: vec![chunk], ..Step::default() })
    }

    fn run(&mut self, step: &Step) -> Result<Span, EngineError> {
        let report = self.engine.step(step, &mut |_: Emission<'_>| {})?;
        let prefilled: u64 = step.prefill.iter().map(|chunk| u64::from(chunk.tokens.0)).sum();
        self.worked += prefilled + step.decode.len() as u64;
        (self.report)(Progress::Worked(self.worked));
        self.spent += report.elapsed;
        Ok(report.elapsed.max(Span(1)))
    }

    fn open(&mut self, id: u32, prompt: u32, max_output: u32) -> Result<(), EngineError> {
        let place = 7 * id as usize;
        let work = GenerationTask {
            prompt_tokens: self
                .probe
                .text
                .iter()
                .copied()
                .cycle()
                .skip(place)
                .take(prompt as usize)
                .collect(),
            max_output: Tokens(max_output),
            sampling: Sampling { seed: id, ..self.probe.sampling },
            stop: Vec::new(),
            ignore_eos: true,
            cache_prompt: false,
        };
        self.engine.open(RequestId(id.into()), work)
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
