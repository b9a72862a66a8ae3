//! A run in a few numbers, in the field's words (`model.md §4`).

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

/// Whether no batch of the plan's instance is worth more.
fn is_proven(plan: &PlanReport) -> bool {
    plan.value == plan.bound
}
