//! Durations of the recorded steps, compared with the recorded cost model.

use std::collections::BTreeMap;

use hedgerow_core::Event;
use hedgerow_core::engine::cost::ChunkLoad;
use hedgerow_core::engine::{StepLoad, StepReport};
use hedgerow_core::quantization::Precision;
use hedgerow_core::request::RequestId;
use hedgerow_core::scheduler::calibration::Fit;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Tokens;
use hedgerow_workload::Recording;

use crate::slowdown::{EngineSlowdown, second};

/// The step times of a recording, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// Number of steps.
    pub steps: u64,
    /// Fit of their measured times to the node's cost model.
    pub fit: Fit,
}

/// A recorded step: its end, its duration, its precision and its load.
struct Taken<'a> {
    ended: Instant,
    taken: Span,
    precision: &'a Precision,
    load: StepLoad,
}

/// The progress of a request.
#[derive(Clone, Copy)]
struct Progressed {
    prompt: Tokens,
    prefilled: Tokens,
    produced: Tokens,
}

/// Sums up the recorded steps.
pub fn step_times(recording: &Recording) -> StepTimes {
    let mut times = StepTimes::default();
    for step in steps(recording) {
        times.steps += 1;
        times.fit.add(step.taken, &step.load, |load| cost(recording, step.precision, load));
    }
    times
}

/// The slowdown of the recorded engine: overall factors, and residual factors per second.
pub fn slowdown(recording: &Recording) -> EngineSlowdown {
    let factors = step_times(recording).fit.factors();
    let mut sums: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for step in steps(recording) {
        let expected = factors.correct(&step.load, |load| cost(recording, step.precision, load));
        let (taken_s, expected_s) = sums.entry(second(step.ended)).or_default();
        *taken_s += step.taken.as_seconds();
        *expected_s += expected.as_seconds();
    }
    let residual = |(second, (taken, expected)): (u64, (f64, f64))| {
        (expected > 0.0).then_some((second, taken / expected))
    };
    EngineSlowdown { factors, residuals: sums.into_iter().filter_map(residual).collect() }
}

fn cost(recording: &Recording, precision: &Precision, load: &StepLoad) -> Span {
    recording.header.node.cost.step(&recording.header.node.model, precision, load)
}

/// The recorded steps. Their loads are derived from the reports alone, so they are correct even if the present
/// pipeline would order other steps.
fn steps(recording: &Recording) -> impl Iterator<Item = Taken<'_>> {
    let mut requests = BTreeMap::new();
    let precisions: BTreeMap<_, _> =
        recording.records().map(|record| (record.request.id, record.precision)).collect();
    let known = &recording.header.node.precisions;
    recording.events.iter().filter_map(move |recorded| match &recorded.event {
        Event::Arrived(request) => {
            let (prefilled, produced) = (Tokens::ZERO, Tokens::ZERO);
            requests.insert(request.id, Progressed { prompt: request.prompt_len, prefilled, produced });
            None
        }
        Event::StepDone(report) => {
            let load = load_of(report, &mut requests);
            // A step has one precision, which the record of each of its requests names.
            let first = report.progress.first().and_then(|first| *precisions.get(&first.request)?);
            let precision = first.and_then(|index| known.get(index.0)).unwrap_or(&known[0]);
            Some(Taken { ended: recorded.at, taken: report.elapsed, precision, load })
        }
        Event::Cancelled(_)
        | Event::OpenFailed { .. }
        | Event::StepFailed(_)
        | Event::Loaded { .. }
        | Event::Woke
        | Event::Drain { .. } => None,
    })
}

/// The load of a reported step; updates the progress of its requests.
fn load_of(report: &StepReport, requests: &mut BTreeMap<RequestId, Progressed>) -> StepLoad {
    let mut load = StepLoad::default();
    for progress in &report.progress {
        let Some(request) = requests.get_mut(&progress.request) else { continue };
        // Cached tokens were not computed.
        request.prefilled = progress.cached.unwrap_or(request.prefilled);
        if progress.prefilled == Tokens::ZERO {
            load.decode_count += 1;
            let kv = request.prefilled + request.produced.saturating_sub(Tokens(1));
            load.decode_kv += u64::from(kv.0);
            load.decode_longest = load.decode_longest.max(kv);
        } else {
            load.prefill.push(ChunkLoad {
                tokens: progress.prefilled,
                start: request.prefilled,
                prompt: request.prompt,
            });
        }
        request.prefilled = request.prefilled + progress.prefilled;
        request.produced = request.produced + Tokens(u32::from(progress.produced));
    }
    load
}
