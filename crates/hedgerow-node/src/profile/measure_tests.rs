//! Measures engines whose cost is known.

use hedgerow_core::engine::{EngineLimits, StepReport, TokenSink};

use super::*;
use crate::profile::slowed::Slowed;

/// An engine whose step times follow a formula over the step and the tokens that each request holds.
struct Formula {
    scripted: ScriptedEngine,
    held: BTreeMap<RequestId, u32>,
    time_ns: fn(&Load) -> u64,
}

/// A step's chunk (tokens, context) and decodes (requests, cells that the longest holds).
#[derive(Debug, Default)]
struct Load {
    chunk: (u64, u64),
    decodes: (u64, u64),
}

impl Formula {
    fn new(limits: EngineLimits, time_ns: fn(&Load) -> u64) -> Self {
        Self { scripted: ScriptedEngine::new(limits, Span(1)), held: BTreeMap::new(), time_ns }
    }
}

impl Engine for Formula {
    fn limits(&self) -> EngineLimits {
        self.scripted.limits()
    }

    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError> {
        self.held.insert(request, 0);
        self.scripted.open(request, work)
    }

    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError> {
        let mut load = Load::default();
        if let [chunk] = step.prefill[..] {
            load.chunk = (chunk.tokens.0.into(), self.held[&chunk.request].into());
        }
        let longest = step.decode.iter().map(|id| self.held[id]).max().unwrap_or(0);
        load.decodes = (step.decode.len() as u64, longest.into());
        for chunk in &step.prefill {
            *self.held.get_mut(&chunk.request).unwrap() += chunk.tokens.0;
        }
        step.decode.iter().for_each(|id| *self.held.get_mut(id).unwrap() += 1);
        let report = self.scripted.step(step, sink)?;
        Ok(StepReport { elapsed: Span((self.time_ns)(&load)), ..report })
    }

    fn close(&mut self, request: RequestId) {
        self.scripted.close(request);
    }

    fn kv_used(&self) -> Tokens {
        self.scripted.kv_used()
    }
}

fn limits(parallel: u32, context: u32) -> EngineLimits {
    EngineLimits { parallel, context: Tokens(context), kv: Tokens(parallel * context) }
}

fn probe(prefill_chunk: u32) -> Probe {
    Probe { text: vec![TokenId(0)], sampling: Sampling::GREEDY, prefill_chunk: Tokens(prefill_chunk) }
}

fn measured(engine: &mut dyn Engine, prefill_chunk: u32) -> MeasuredCost {
    let cost = measure(engine, &probe(prefill_chunk), &|_| {}).unwrap().cost;
    assert_eq!(engine.kv_used(), Tokens::ZERO, "it leaves nothing open");
    cost
}

#[test]
fn reads_a_constant_step_time_off_an_engine_that_has_one() {
    let step = Span::from_millis(3);
    let cost = measured(&mut ScriptedEngine::new(limits(6, 600), step), 128);
    for (count, depth) in [(1, 0), (64, 0), (128, 200)] {
        assert_eq!(cost.prefill.at(count, depth), step, "{count} after {depth}");
    }
    for (count, depth) in [(1, 8), (3, 600), (6, 3600)] {
        assert_eq!(cost.decode.at(count, depth), step, "{count} that hold {depth}");
    }
    assert_eq!(cost.mixed_ns, 0, "a step with both takes less than the sum, which is no cost");
}

#[test]
fn reads_off_what_chunks_contexts_requests_and_caches_take() {
    let time_ns = |load: &Load| {
        let (tokens, context) = load.chunk;
        let (count, longest) = load.decodes;
        // As in llama.cpp: cells are allocated in blocks, and each request gets as many as the longest.
        let cells = longest.next_multiple_of(256);
        let chunk = if tokens > 0 { 5_000 + 2_000 * tokens + tokens * context } else { 0 };
        let decode = if count > 0 { 6_000 + 1_000 * count + 2 * count * cells } else { 0 };
        chunk + decode + if tokens > 0 && count > 0 { 900 } else { 0 }
    };
    let cost = measured(&mut Formula::new(limits(16, 2048), time_ns), 128);
    let is_near = |read: Span, expected: u64| (read.0 as f64 / expected as f64 - 1.0).abs() < 0.02;
    for (tokens, context) in [(1, 0), (64, 500), (128, 0), (128, 1_024), (128, 1_920)] {
        let expected = 5_000 + u64::from(tokens) * (2_000 + context);
        let read = cost.prefill.at(tokens, context);
        assert!(is_near(read, expected), "{tokens} after {context}: {read:?}, not {expected}");
    }
    // Between two depths too; the middle of a block represents the whole block.
    for (count, each) in [(1, 128), (4, 384), (5, 640), (16, 1_152), (16, 1_920)] {
        let expected = 6_000 + count * (1_000 + 2 * (each + 128));
        let read = cost.decode.at(count as u32, count * each);
        assert!(is_near(read, expected), "{count} of {each}: {read:?}, not {expected}");
    }
    assert_eq!(cost.mixed_ns, 900);
}

#[test]
fn one_disturbed_run_in_three_changes_nothing() {
    let step = Span::from_millis(3);
    let every_fifth_decode = |step: &Step, number: u32| {
        if step.prefill.is_empty() && number.is_multiple_of(5) { 10 } else { 1 }
    };
    let mut disturbed = Slowed::new(ScriptedEngine::new(limits(4, 600), step), every_fifth_decode);
    let cost = measured(&mut disturbed, 128);
    assert_eq!(cost.decode, measured(&mut ScriptedEngine::new(limits(4, 600), step), 128).decode);
}

#[test]
fn gets_along_with_short_contexts_and_small_chunks() {
    let step = Span::from_millis(3);
    for (parallel, context, chunk) in [(1, 24, 128), (1, 3, 1), (16, 10, 4), (256, 128, 512), (2, 150, 1024)]
    {
        let cost = measured(&mut ScriptedEngine::new(limits(parallel, context), step), chunk);
        let what = format!("{parallel} of {context} in chunks of {chunk}");
        assert_eq!(cost.decode.at(parallel, 1), step, "{what}");
        assert_eq!(cost.prefill.at(1, 0), step, "{what}");
    }
}

#[test]
fn a_context_that_holds_no_answer_is_refused() {
    let mut engine = ScriptedEngine::new(limits(1, 2), Span(1));
    assert!(matches!(measure(&mut engine, &probe(8), &|_| {}), Err(EngineError::TooLong { .. })));
}

#[test]
fn a_slow_engine_is_not_filled_to_the_deepest() {
    let slow = |load: &Load| 100_000_000 * load.chunk.0 + 1;
    let mut engine = Formula::new(limits(2, 2048), slow);
    let worked = std::cell::Cell::new(0);
    let note = |progress| match progress {
        Progress::Worked(now) => worked.set(now),
        Progress::Stage(_) => {}
    };
    let cost = measure(&mut engine, &probe(128), &note).unwrap().cost;
    let deepest = cost.decode.lines().iter().flat_map(|line| &line.times_ns).map(|point| point.0).max();
    assert!(deepest < Some(2 * 384), "{deepest:?}");
    assert!(worked.get() < 1_200, "{}", worked.get());
}

#[test]
fn works_through_some_four_thousand_tokens_in_the_usual_setup() {
    let engine = ScriptedEngine::new(limits(16, 2048), Span(1));
    let worked = tokens_to_work(&engine, &probe(128)).unwrap();
    assert!((3_000..4_500).contains(&worked), "{worked}");
}

#[test]
fn measures_every_batch_size_at_which_kernels_may_switch() {
    assert_eq!(batch_sizes(16), [1, 2, 3, 4, 6, 8, 12, 16]);
    assert_eq!(batch_sizes(1), [1]);
}

#[test]
fn scatter_is_how_far_the_middle_run_is_above_the_fastest() {
    let step = Span::from_millis(3);
    let steady = measure(&mut ScriptedEngine::new(limits(4, 600), step), &probe(128), &|_| {}).unwrap();
    assert_eq!(steady.scatter_percent, 0);
    let two_of_three = |_: &Step, number: u32| if number.is_multiple_of(3) { 1 } else { 3 };
    let mut unsteady = Slowed::new(ScriptedEngine::new(limits(4, 600), step), two_of_three);
    let unsteady = measure(&mut unsteady, &probe(128), &|_| {}).unwrap();
    assert!(unsteady.scatter_percent > 50, "{}", unsteady.scatter_percent);
}

#[test]
fn each_stage_is_told_before_it_begins() {
    let stages = std::cell::RefCell::new(Vec::new());
    let note = |progress| match progress {
        Progress::Stage(stage) => stages.borrow_mut().push(stage),
        Progress::Worked(_) => assert!(!stages.borrow().is_empty()),
    };
    measure(&mut ScriptedEngine::new(limits(2, 600), Span(1)), &probe(64), &note).unwrap();
    let decodes = |depth| Stage::Decodes { requests: 2, depth };
    assert_eq!(
        stages.into_inner(),
        [Stage::Prompts { largest: 64 }, decodes(128), decodes(384), Stage::Mixed]
    );
}
