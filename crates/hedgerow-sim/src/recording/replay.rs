//! The recorded arrivals once more, in virtual time: what the node's cost model says would happen.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::Event;
use hedgerow_core::engine::EndReason;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Instant;
use hedgerow_core::units::Tokens;

use super::Recording;
use crate::arrivals::Arrival;
use crate::simulation::Simulation;
use crate::sink::Run;
use crate::slowdown::EngineSlowdown;

impl Recording {
    /// Plays the recorded arrivals under some settings, with an engine of this slowdown. The pipeline plans with the
    /// recorded cost model as it was, and learns by its pace how slow the engine is, as on the node.
    ///
    /// A caller who went away goes away at the same moment. What the engine failed at does not fail here.
    pub fn replay(&self, settings: &Settings, slowdown: &EngineSlowdown) -> Run {
        let node = &self.header.node;
        let mut simulation =
            Simulation::replay(node, settings, self.arrivals().into_iter()).slowed_by(slowdown.clone());
        for told in &self.told {
            if let Event::Drain { by } = told.event {
                simulation.expect(told.at, Event::Drain { by });
            }
        }
        simulation.run(|_| {})
    }

    /// Who came, when the pipeline heard of them, and what only the recording knows: how long the answer was
    /// and when its caller went away.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let answers: BTreeMap<_, _> =
            self.records().filter_map(|record| Some((record.request.id, answer(record)?))).collect();
        let leaves: BTreeMap<_, _> =
            self.told.iter().filter_map(|told| leaver(told.at, &told.event)).collect();
        let arrival = |told: Instant, request: &Request| Arrival {
            told,
            answer: answers.get(&request.id).copied().unwrap_or(request.max_output).min(request.max_output),
            leaves: leaves.get(&request.id).copied(),
            class: 0,
            truth: None,
            request: request.clone(),
        };
        let arrived = |told: &super::Told| match &told.event {
            Event::Arrived(request) => Some(arrival(told.at, request)),
            Event::Cancelled(_)
            | Event::OpenFailed { .. }
            | Event::StepDone(_)
            | Event::StepFailed(_)
            | Event::Loaded { .. }
            | Event::Woke
            | Event::Drain { .. } => None,
        };
        self.told.iter().filter_map(arrived).collect()
    }

    /// Who had not ended when the recording stops: played like the others, but there is nothing to compare
    /// them with.
    pub fn unfinished(&self) -> BTreeSet<RequestId> {
        let ended: BTreeSet<_> = self.records().map(|record| record.request.id).collect();
        let ids = self.arrivals().into_iter().map(|arrival| arrival.request.id);
        ids.filter(|id| !ended.contains(id)).collect()
    }
}

/// How long an answer is, if the recording has all of it. An answer that was cut off may have had any length,
/// so it is taken to be as long as its caller allowed, like that of a request which was never served.
fn answer(record: &Record) -> Option<Tokens> {
    match record.outcome {
        Outcome::Met(EndReason::Stop) | Outcome::Late(EndReason::Stop) => {
            // An engine that produced nothing has not answered.
            Some(record.produced).filter(|&produced| produced > Tokens::ZERO)
        }
        Outcome::Met(EndReason::Length)
        | Outcome::Late(EndReason::Length)
        | Outcome::Expired
        | Outcome::Rejected(_)
        | Outcome::Cancelled
        | Outcome::Failed(_)
        | Outcome::ShutDown => None,
    }
}

fn leaver(at: Instant, event: &Event) -> Option<(RequestId, Instant)> {
    match event {
        Event::Cancelled(id) => Some((*id, at)),
        Event::Arrived(_)
        | Event::OpenFailed { .. }
        | Event::StepDone(_)
        | Event::StepFailed(_)
        | Event::Loaded { .. }
        | Event::Woke
        | Event::Drain { .. } => None,
    }
}
