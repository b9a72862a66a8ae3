//! A run in a few numbers, in the field's words (`model.md §4`).

mod files;
mod table;

use std::collections::BTreeMap;

use hedgerow_core::output::{Outcome, Percentiles, Record, Summary};
use hedgerow_core::scheduler::{Limit, PlanReport};
use hedgerow_core::settings::Protocol;
use serde::Serialize;

pub use files::{FileError, write_files};
pub use table::table;

use crate::scenario::Scenario;
use crate::simulation::Run;

/// What became of a scenario's requests; also the form of `--json` and `summary.json`.
///
/// Numbers that do not exist are `None`: a percentile of nothing, epochs where there are none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// Its policy.
    pub policy: String,
    /// Its seed.
    pub seed: u64,
    /// Requests that arrived.
    pub offered: u64,
    /// Requests that met everything they asked for.
    pub met: u64,
    /// Requests answered late or cut off at their deadline.
    pub late: u64,
    /// Requests refused.
    pub turned_away: u64,
    /// Requests that ended otherwise.
    pub other: u64,
    /// Requests that started.
    pub admitted: u64,
    /// Tokens produced.
    pub tokens: u64,
    /// From the first arrival to the last end.
    pub duration_s: f64,
    /// Met / offered.
    pub attainment: f64,
    /// Met / admitted.
    pub admitted_attainment: f64,
    /// Requests a second that met everything.
    pub goodput_per_s: f64,
    /// Requests an epoch that met everything: the paper's throughput, over all epochs until the last end.
    pub met_per_epoch: Option<f64>,
    /// Time to first token.
    pub ttft_s: Quantiles,
    /// Time per output token after the first.
    pub tpot_s: Quantiles,
    /// Arrival to end, of whole answers.
    pub e2e_s: Quantiles,
    /// Plans made.
    pub plans: u64,
    /// Plans proven to be the best.
    pub plans_proven: u64,
    /// Tree nodes visited over all plans.
    pub nodes: u64,
    /// Requests in a plan, over the plans that serve any.
    pub requests_per_plan: Option<f64>,
    /// Steps that the engine ran.
    pub steps: u64,
    /// Requests in a step.
    pub requests_per_step: Option<f64>,
    /// How many plans each limit kept requests out of; `none` where nobody was kept out.
    pub binding: BTreeMap<&'static str, u64>,
    /// How many requests were refused for each reason.
    pub rejections: BTreeMap<&'static str, u64>,
}

/// Percentiles in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// 19 of 20 are no longer.
    pub p95: Option<f64>,
    /// 99 of 100 are no longer.
    pub p99: Option<f64>,
}

impl Report {
    /// Sums up a scenario's run.
    pub fn of(scenario: &Scenario, run: &Run) -> Self {
        let summary = Summary::of(&run.records);
        let serving: Vec<_> = run.plans.iter().filter(|plan| plan.accepted > 0).collect();
        let planned: usize = serving.iter().map(|plan| plan.accepted).sum();
        Self {
            scenario: scenario.name.clone(),
            policy: scenario.settings.policy.to_string(),
            seed: scenario.seed,
            offered: summary.offered,
            met: summary.met,
            late: summary.late,
            turned_away: summary.turned_away,
            other: summary.other,
            admitted: summary.admitted,
            tokens: summary.tokens,
            duration_s: summary.duration.as_seconds(),
            attainment: summary.attainment(),
            admitted_attainment: summary.admitted_attainment(),
            goodput_per_s: summary.goodput_per_s(),
            met_per_epoch: mean(summary.met, epochs(scenario, &run.records)),
            ttft_s: summary.ttft.into(),
            tpot_s: summary.tpot.into(),
            e2e_s: summary.e2e.into(),
            plans: run.plans.len() as u64,
            plans_proven: run.plans.iter().filter(|plan| is_proven(plan)).count() as u64,
            nodes: run.plans.iter().map(|plan| plan.nodes).sum(),
            requests_per_plan: mean(planned as u64, serving.len() as u64),
            steps: run.steps,
            requests_per_step: mean(run.requests_in_steps, run.steps),
            binding: count(run.plans.iter().map(|plan| plan.binding.map_or("none", Limit::name))),
            rejections: count(run.records.iter().filter_map(rejection)),
        }
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data with text keys")
    }
}

impl From<Percentiles> for Quantiles {
    fn from(Percentiles { p50, p95, p99 }: Percentiles) -> Self {
        let seconds = |span: Option<hedgerow_core::time::Span>| span.map(|span| span.as_seconds());
        Self { p50: seconds(p50), p95: seconds(p95), p99: seconds(p99) }
    }
}

/// Whether no batch of the plan's instance is worth more.
fn is_proven(plan: &PlanReport) -> bool {
    plan.value == plan.bound
}

fn rejection(record: &Record) -> Option<&'static str> {
    match &record.outcome {
        Outcome::Rejected(rejection) => Some(rejection.code()),
        Outcome::Met(_)
        | Outcome::Late(_)
        | Outcome::Expired
        | Outcome::Cancelled
        | Outcome::Failed(_)
        | Outcome::ShutDown => None,
    }
}

/// Epochs begun until the last request ended.
fn epochs(scenario: &Scenario, records: &[Record]) -> u64 {
    match scenario.settings.protocol {
        Protocol::Continuous => 0,
        Protocol::Epoch { length, .. } => {
            records.iter().map(|record| record.ended.0.div_ceil(length.0)).max().unwrap_or(0)
        }
    }
}

fn mean(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

fn count(names: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}
