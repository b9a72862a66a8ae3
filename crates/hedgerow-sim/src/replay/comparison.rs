//! Comparison of a recording with its replay in the simulator.

use std::collections::BTreeMap;

use hedgerow_core::output::{Percentiles, Record, Summary};
use hedgerow_core::request::RequestId;
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Span;
use hedgerow_workload::Recording;
use serde::Serialize;

use super::arrivals::simulate;
use crate::slowdown::EngineSlowdown;

/// A comparison of one replay with the recording. Only requests whose end is recorded count, on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The policy of the replay.
    pub policy: String,
    /// Its planning margin.
    pub margin: f64,
    /// Factors by which steps of the replay were slower than the recorded cost model.
    pub stretch: Factors,
    /// Figures of the recording.
    pub recorded: Figures,
    /// Figures of the replay.
    pub simulated: Figures,
    /// Requests whose outcome has the same name in both.
    pub same_outcome: u64,
    /// The median absolute difference of the E2E times of complete answers.
    pub e2e_error_p50_s: Option<f64>,
}

/// Summary figures of a set of requests (`model.md §4`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Requests that arrived.
    pub offered: u64,
    /// Requests that met all their requirements.
    pub met: u64,
    /// Requests that were answered late or cut off at their deadline.
    pub late: u64,
    /// Rejected requests.
    pub turned_away: u64,
    /// Requests with another outcome.
    pub other: u64,
    /// Met / offered.
    pub attainment: f64,
    /// Met / admitted.
    pub admitted_attainment: f64,
    /// Requests per second that met all their requirements.
    pub goodput_per_s: f64,
    /// Median time to first token.
    pub ttft_p50_s: Option<f64>,
    /// Median time per output token after the first.
    pub tpot_p50_s: Option<f64>,
    /// Median time from arrival to end of complete answers.
    pub e2e_p50_s: Option<f64>,
}

impl Figures {
    fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let summary = Summary::of(records);
        let median_s = |percentiles: Percentiles| percentiles.p50.map(Span::as_seconds);
        Self {
            offered: summary.offered,
            met: summary.met,
            late: summary.late,
            turned_away: summary.turned_away,
            other: summary.other,
            attainment: summary.attainment(),
            admitted_attainment: summary.admitted_attainment(),
            goodput_per_s: summary.goodput_per_s(),
            ttft_p50_s: median_s(summary.ttft),
            tpot_p50_s: median_s(summary.tpot),
            e2e_p50_s: median_s(summary.e2e),
        }
    }
}

impl Comparison {
    /// Replays a recording with given settings and compares the results.
    pub fn of(recording: &Recording, settings: &Settings, slowdown: &EngineSlowdown) -> Self {
        let recorded: BTreeMap<RequestId, &Record> =
            recording.records().map(|record| (record.request.id, record)).collect();
        let run = simulate(recording, settings, slowdown);
        let pairs: Vec<(&Record, &Record)> = run
            .records
            .iter()
            .filter_map(|simulated| Some((*recorded.get(&simulated.request.id)?, simulated)))
            .collect();
        let has_same_outcome = |pair: &&(&Record, &Record)| pair.0.outcome.name() == pair.1.outcome.name();
        let distance = |pair: &(&Record, &Record)| {
            let (recorded, simulated) = (pair.0.e2e()?, pair.1.e2e()?);
            Some(recorded.max(simulated) - recorded.min(simulated))
        };
        let distances = pairs.iter().filter_map(distance).collect();
        Self {
            policy: settings.policy.to_string(),
            margin: settings.margin,
            stretch: slowdown.factors,
            recorded: Figures::of(pairs.iter().map(|pair| pair.0)),
            simulated: Figures::of(pairs.iter().map(|pair| pair.1)),
            same_outcome: pairs.iter().filter(has_same_outcome).count() as u64,
            e2e_error_p50_s: Percentiles::of(distances).p50.map(Span::as_seconds),
        }
    }
}
