//! Replay of the recorded arrivals in virtual time, with the node's cost model.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::Event;
use hedgerow_core::engine::EndReason;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Instant;
use hedgerow_core::units::Tokens;
use hedgerow_workload::{RecordedEvent, Recording};

use crate::arrivals::Arrival;
use crate::simulation::Simulation;
use crate::sink::Run;
use crate::slowdown::EngineSlowdown;

/// Simulates the recorded arrivals with given settings and an engine with this slowdown. The pipeline plans with
/// the recorded cost model and calibrates its step times to the engine, as on the node.
///
/// Cancellations occur at their recorded times. Recorded failures of the engine do not recur.
pub fn simulate(recording: &Recording, settings: &Settings, slowdown: &EngineSlowdown) -> Run {
    let node = &recording.header.node;
    let mut simulation =
        Simulation::replay(node, settings, arrivals(recording).into_iter()).slowed_by(slowdown.clone());
    for recorded in &recording.events {
        if let Event::Drain { by } = recorded.event {
            simulation.expect(recorded.at, Event::Drain { by });
        }
    }
    simulation.run(|_| {})
}

/// The recorded arrivals, with the answer lengths and the times of cancellation.
pub fn arrivals(recording: &Recording) -> Vec<Arrival> {
    let answers: BTreeMap<_, _> =
        recording.records().filter_map(|record| Some((record.request.id, answer(record)?))).collect();
    let cancels_at: BTreeMap<_, _> =
        recording.events.iter().filter_map(|recorded| cancelled(recorded.at, &recorded.event)).collect();
    let arrival = |notified: Instant, request: &Request| Arrival {
        notified,
        answer: answers.get(&request.id).copied().unwrap_or(request.max_output).min(request.max_output),
        cancels_at: cancels_at.get(&request.id).copied(),
        class: 0,
        truth: None,
        request: request.clone(),
    };
    let arrived = |recorded: &RecordedEvent| match &recorded.event {
        Event::Arrived(request) => Some(arrival(recorded.at, request)),
        Event::Cancelled(_)
        | Event::OpenFailed { .. }
        | Event::StepDone(_)
        | Event::StepFailed(_)
        | Event::Loaded { .. }
        | Event::Woke
        | Event::Drain { .. } => None,
    };
    recording.events.iter().filter_map(arrived).collect()
}

/// Requests without a recorded end: they are replayed like the others, but not compared.
pub fn unfinished(recording: &Recording) -> BTreeSet<RequestId> {
    let ended: BTreeSet<_> = recording.records().map(|record| record.request.id).collect();
    let ids = arrivals(recording).into_iter().map(|arrival| arrival.request.id);
    ids.filter(|id| !ended.contains(id)).collect()
}

/// The length of an answer that ended by itrecording. The length of a truncated answer or of an unserved request is
/// unknown; the caller takes the request's limit instead.
fn answer(record: &Record) -> Option<Tokens> {
    match record.outcome {
        Outcome::Met(EndReason::Stop | EndReason::StopText)
        | Outcome::Late(EndReason::Stop | EndReason::StopText) => {
            // An answer without tokens has no usable length.
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

fn cancelled(at: Instant, event: &Event) -> Option<(RequestId, Instant)> {
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
