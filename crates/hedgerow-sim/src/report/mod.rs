//! Summary metrics of a run (`model.md §4`).

mod cdf;
mod files;
mod output;
mod table;
mod tally;
mod trace;

use std::collections::BTreeMap;

use hedgerow_core::output::Percentiles;
use hedgerow_core::scheduler::PlanReport;
use serde::Serialize;

pub use cdf::cdf;
pub use files::FileError;
pub use output::{Output, Outputs, write_files};
pub use table::table;
pub use tally::Tally;

use crate::scenario::Scenario;
use crate::sink::Run;

/// The results of a scenario; also the format of `--json` and `summary.json`.
///
/// Undefined numbers are `None`: percentiles of an empty set, and figures per epoch under `continuous`.
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
    /// Requests that met all their requirements.
    pub met: u64,
    /// Requests that were answered late or cut off at their deadline.
    pub late: u64,
    /// Rejected requests.
    pub turned_away: u64,
    /// Requests with another outcome.
    pub other: u64,
    /// Requests that started.
    pub admitted: u64,
    /// Tokens produced.
    pub tokens: u64,
    /// Time from the first arrival to the last end.
    pub duration_s: f64,
    /// Met / offered.
    pub attainment: f64,
    /// Met / admitted.
    pub admitted_attainment: f64,
    /// Requests per second that met all their requirements.
    pub goodput_per_s: f64,
    /// Requests per epoch that met all their requirements: the paper's throughput, over all epochs to the last end.
    pub met_per_epoch: Option<f64>,
    /// Time to first token.
    pub ttft_s: Quantiles,
    /// Time per output token after the first.
    pub tpot_s: Quantiles,
    /// Time from arrival to end of complete answers.
    pub e2e_s: Quantiles,
    /// Number of plans.
    pub plans: u64,
    /// Number of plans proven optimal.
    pub plans_proven: u64,
    /// Tree nodes visited over all plans.
    pub nodes: u64,
    /// Mean number of requests per plan, over plans that serve any.
    pub requests_per_plan: Option<f64>,
    /// Number of engine steps.
    pub steps: u64,
    /// Mean number of requests per step.
    pub requests_per_step: Option<f64>,
    /// Number of plans bound by each limit; `none` for plans that left out no request.
    pub binding: BTreeMap<&'static str, u64>,
    /// Number of rejected requests for each reason.
    pub rejections: BTreeMap<&'static str, u64>,
}

/// Percentiles in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

impl Report {
    /// Sums up a run of a scenario.
    pub fn of(scenario: &Scenario, run: &Run) -> Self {
        Tally::of(run).finish(scenario).0
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

/// Whether the plan is proven optimal: its value equals the upper bound.
fn is_proven(plan: &PlanReport) -> bool {
    plan.value == plan.bound
}
