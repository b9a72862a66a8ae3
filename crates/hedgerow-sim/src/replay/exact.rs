//! Exact replay: the same events at the same times must give the same decisions.

use hedgerow_core::engine::{Progress, Step, StepReport};
use hedgerow_core::output::Record;
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Instant;
use hedgerow_core::units::Tokens;
use hedgerow_core::{Event, Order, Pipeline};
use hedgerow_workload::{RecordedEvent, Recording};
use serde::Serialize;

/// The result of an exact replay without differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Identical {
    /// Number of replayed events.
    pub events: usize,
    /// Number of identical records.
    pub records: usize,
}

/// The first difference of an exact replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The event's line in the file.
    pub line: usize,
    /// When the event occurred.
    pub at: Instant,
    /// The event.
    pub event: Event,
    /// How the replay differs.
    #[serde(flatten)]
    pub what: Differs,
}

/// How a replay differs from the recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "differs")]
pub enum Differs {
    /// The step that the event reports is not the ordered one.
    Step {
        /// The recorded step: requests with their prompt tokens, none for a decode.
        recorded: Vec<(RequestId, Tokens)>,
        /// The step ordered in the replay, in the same form; `None` if no step was ordered.
        replayed: Option<Vec<(RequestId, Tokens)>>,
    },
    /// A request ended differently, or only in one of both.
    End {
        /// Its record in the recording, if it ended there.
        recorded: Option<Box<Record>>,
        /// Its record in the replay, if it ended there.
        replayed: Option<Box<Record>>,
    },
}

/// Replays the recorded events at the recorded times in a new pipeline, and compares each ordered step and each
/// record with the recorded one.
///
/// Records of the last event may be missing in the recording, because the server may have been killed before it
/// wrote them.
///
/// # Errors
///
/// Returns the first difference.
pub fn exactly(recording: &Recording) -> Result<Identical, Box<Difference>> {
    let mut pipeline = Pipeline::new(recording.header.node.clone(), recording.header.settings.clone());
    let mut step = None;
    let mut records = 0;
    for (index, recorded) in recording.events.iter().enumerate() {
        let differs = |what| {
            let RecordedEvent { line, at, event, .. } = recorded.clone();
            Box::new(Difference { line, at, event, what })
        };
        if let Event::StepDone(report) = &recorded.event {
            compare_step(report, step.take()).map_err(differs)?;
        }
        let mut replayed = Vec::new();
        for order in pipeline.on_event(recorded.at, recorded.event.clone()) {
            match order {
                Order::End(record) => replayed.push(record),
                Order::Run(ordered) => step = Some(ordered),
                Order::Start(_)
                | Order::Stop(_)
                | Order::Load(_)
                | Order::Unload(_)
                | Order::Planned(_)
                | Order::WakeAt(_) => {}
            }
        }
        let is_last = index + 1 == recording.events.len();
        compare_ends(&recorded.ended, &replayed, is_last).map_err(differs)?;
        records += recorded.ended.len();
    }
    Ok(Identical { events: recording.events.len(), records })
}

fn compare_step(report: &StepReport, ordered: Option<Step>) -> Result<(), Differs> {
    let work_of = |progress: &Progress| (progress.request, progress.prefilled);
    let recorded: Vec<_> = report.progress.iter().map(work_of).collect();
    let replayed: Option<Vec<_>> = ordered.map(|step| {
        let chunks = step.prefill.iter().map(|chunk| (chunk.request, chunk.tokens));
        chunks.chain(step.decode.iter().map(|&request| (request, Tokens::ZERO))).collect()
    });
    // The engine shortens a prompt's first chunk if its cache holds more of the prompt than the plan assumed.
    let is_same = |(progress, &(request, ordered)): (&Progress, &(RequestId, Tokens))| {
        let is_shorter = progress.cached.is_some() && progress.prefilled <= ordered;
        progress.request == request && (progress.prefilled == ordered || is_shorter)
    };
    let are_same = |replayed: &Vec<(RequestId, Tokens)>| {
        replayed.len() == recorded.len() && report.progress.iter().zip(replayed).all(is_same)
    };
    if replayed.as_ref().is_some_and(are_same) { Ok(()) } else { Err(Differs::Step { recorded, replayed }) }
}

fn compare_ends(recorded: &[Record], replayed: &[Record], is_last: bool) -> Result<(), Differs> {
    let count = if is_last { recorded.len() } else { recorded.len().max(replayed.len()) };
    for index in 0..count {
        let (recorded, replayed) = (recorded.get(index), replayed.get(index));
        if recorded != replayed {
            let boxed = |record: Option<&Record>| record.cloned().map(Box::new);
            return Err(Differs::End { recorded: boxed(recorded), replayed: boxed(replayed) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::PrefillChunk;

    use super::*;

    #[test]
    fn a_first_chunk_shortened_by_the_cache_matches_the_ordered_step() {
        let request = RequestId(1);
        let step = || Step { prefill: vec![PrefillChunk { request, tokens: Tokens(36) }], ..Step::default() };
        let report = |cached, prefilled| {
            let progress = Progress { request, prefilled, cached, produced: true, end: None };
            StepReport { progress: vec![progress], ..StepReport::default() }
        };
        assert!(compare_step(&report(Some(Tokens(35)), Tokens(1)), Some(step())).is_ok());
        assert!(compare_step(&report(None, Tokens(1)), Some(step())).is_err(), "a later chunk runs whole");
        assert!(compare_step(&report(Some(Tokens::ZERO), Tokens(37)), Some(step())).is_err());
        assert!(compare_step(&report(None, Tokens(36)), None).is_err());
    }
}
