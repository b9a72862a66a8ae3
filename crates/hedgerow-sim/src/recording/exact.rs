//! The same events at the same times once more: a pipeline must answer them as it did.

use hedgerow_core::engine::{Progress, Step, StepReport};
use hedgerow_core::output::Record;
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Instant;
use hedgerow_core::units::Tokens;
use hedgerow_core::{Event, Order, Pipeline};
use serde::Serialize;

use super::{Recording, Told};

/// A pipeline that answered everything as it did when it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Identical {
    /// Events that it was told.
    pub events: usize,
    /// Records that came out the same.
    pub records: usize,
}

/// Where a pipeline's answer differs for the first time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The event's line in the file.
    pub line: usize,
    /// When.
    pub at: Instant,
    /// What the pipeline was told.
    pub event: Event,
    /// What differs.
    #[serde(flatten)]
    pub what: Differs,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "differs")]
pub enum Differs {
    /// The step that the event reports is not the one that was ordered.
    Step {
        /// What the engine did, when it was recorded.
        recorded: Vec<(RequestId, Tokens)>,
        /// What it was to do now: the request and prompt tokens, none for a decode; `None` if nothing.
        replayed: Option<Vec<(RequestId, Tokens)>>,
    },
    /// A request ended in another way, or only once.
    End {
        /// Its record, if it ended when it was recorded.
        recorded: Option<Box<Record>>,
        /// Its record, if it ended now.
        replayed: Option<Box<Record>>,
    },
}

impl Recording {
    /// Tells a new pipeline the recorded events at the recorded times, and compares each step that it
    /// orders with the one that was run, and each record with the one that was written.
    ///
    /// The last event's records may be missing in the recording, because a server that is killed is killed
    /// anywhere.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn replay_exactly(&self) -> Result<Identical, Box<Difference>> {
        let mut pipeline = Pipeline::new(self.header.node.clone(), self.header.settings.clone());
        let mut step = None;
        let mut records = 0;
        for (index, told) in self.told.iter().enumerate() {
            let differs = |what| {
                let Told { line, at, event, .. } = told.clone();
                Box::new(Difference { line, at, event, what })
            };
            if let Event::StepDone(report) = &told.event {
                compare_step(report, step.take()).map_err(differs)?;
            }
            let mut replayed = Vec::new();
            for order in pipeline.on_event(told.at, told.event.clone()) {
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
            let is_last = index + 1 == self.told.len();
            compare_ends(&told.ended, &replayed, is_last).map_err(differs)?;
            records += told.ended.len();
        }
        Ok(Identical { events: self.told.len(), records })
    }
}

fn compare_step(report: &StepReport, ordered: Option<Step>) -> Result<(), Differs> {
    let work_of = |progress: &Progress| (progress.request, progress.prefilled);
    let recorded: Vec<_> = report.progress.iter().map(work_of).collect();
    let replayed: Option<Vec<_>> = ordered.map(|step| {
        let chunks = step.prefill.iter().map(|chunk| (chunk.request, chunk.tokens));
        chunks.chain(step.decode.iter().map(|&request| (request, Tokens::ZERO))).collect()
    });
    // Of a prompt's first chunk the engine runs less than was ordered where its cache holds more than was seen.
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
    fn a_first_chunk_that_the_cache_shortened_is_the_step_that_was_ordered() {
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
