//! How long the recorded steps took, against what the recorded cost model says of them.

use std::collections::BTreeMap;

use hedgerow_core::Event;
use hedgerow_core::engine::cost::ChunkLoad;
use hedgerow_core::engine::{StepLoad, StepReport};
use hedgerow_core::quantization::Precision;
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;

use super::Recording;

/// The steps of a recording, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// How many there were.
    pub steps: u64,
    /// The time they took.
    pub taken: Span,
    /// The time that the node's cost model gives them.
    pub predicted: Span,
}

impl StepTimes {
    /// The mean pace: time taken over time predicted; 1 where nothing was run.
    pub fn pace(&self) -> f64 {
        if self.predicted == Span::ZERO { 1.0 } else { self.taken.as_seconds() / self.predicted.as_seconds() }
    }
}

/// How far a request is.
#[derive(Clone, Copy)]
struct Progressed {
    prompt: Tokens,
    prefilled: Tokens,
    produced: Tokens,
}

impl Recording {
    /// Adds up the recorded steps. What each one had to do follows from the reports alone, so that this
    /// is true also where today's pipeline would have ordered other steps.
    pub fn step_times(&self) -> StepTimes {
        let mut requests = BTreeMap::new();
        let mut times = StepTimes::default();
        let precisions: BTreeMap<_, _> =
            self.records().map(|record| (record.request.id, record.precision)).collect();
        let node = &self.header.node;
        for told in &self.told {
            match &told.event {
                Event::Arrived(request) => {
                    let (prefilled, produced) = (Tokens::ZERO, Tokens::ZERO);
                    requests.insert(request.id, Progressed { prompt: request.prompt, prefilled, produced });
                }
                Event::StepDone(report) => {
                    let load = load_of(report, &mut requests);
                    // A step has one precision, which each record of those in it names.
                    let first = report.progress.first().and_then(|first| *precisions.get(&first.request)?);
                    let precision: &Precision =
                        first.and_then(|index| node.precisions.get(index.0)).unwrap_or(&node.precisions[0]);
                    times.steps += 1;
                    times.taken += report.elapsed;
                    times.predicted += node.cost.step(&node.model, precision, &load);
                }
                Event::Cancelled(_)
                | Event::OpenFailed { .. }
                | Event::StepFailed(_)
                | Event::Loaded { .. }
                | Event::Woke
                | Event::Drain { .. } => {}
            }
        }
        times
    }
}

/// What a reported step had to do; notes how far its requests are after it.
fn load_of(report: &StepReport, requests: &mut BTreeMap<RequestId, Progressed>) -> StepLoad {
    let mut load = StepLoad::default();
    for progress in &report.progress {
        let Some(request) = requests.get_mut(&progress.request) else { continue };
        // What the cache held was not worked through.
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
