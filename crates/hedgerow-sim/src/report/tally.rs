//! Summing up a run while it runs.

use std::collections::BTreeMap;
use std::convert::Infallible;

use hedgerow_core::engine::Step;
use hedgerow_core::output::{self, Outcome, Record, Times};
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::settings::Protocol;
use hedgerow_core::time::{Instant, Span};
use hedgerow_solver::Limit;

use super::{Report, is_proven};
use crate::scenario::Scenario;
use crate::sink::{Run, Sink};

/// Accumulates the metrics of a run; it keeps only three times per request.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    requests: output::Tally,
    last_end: Instant,
    rejections: BTreeMap<&'static str, u64>,
    plans: u64,
    plans_proven: u64,
    nodes: u64,
    /// Number of plans that serve any request, and of the requests in them.
    serving_plans: u64,
    planned: u64,
    binding: BTreeMap<&'static str, u64>,
    steps: u64,
    requests_in_steps: u64,
    events: u64,
}

impl Tally {
    /// Sums up a run in memory.
    pub(super) fn of(run: &Run) -> Self {
        let Run { records, plans, steps, requests_in_steps, events } = run;
        let (steps, requests_in_steps, events) = (*steps, *requests_in_steps, *events);
        let mut tally = Self { steps, requests_in_steps, events, ..Self::default() };
        records.iter().for_each(|record| tally.note_end(record));
        plans.iter().for_each(|plan| tally.note_plan(plan));
        tally
    }

    /// Adds an ended request.
    pub(super) fn note_end(&mut self, record: &Record) {
        self.requests.note(record);
        self.last_end = self.last_end.max(record.ended);
        if let Outcome::Rejected(rejection) = &record.outcome {
            *self.rejections.entry(rejection.code()).or_default() += 1;
        }
    }

    /// Adds a plan.
    pub(super) fn note_plan(&mut self, plan: &PlanReport) {
        self.plans += 1;
        self.plans_proven += u64::from(is_proven(plan));
        self.nodes += plan.nodes;
        self.serving_plans += u64::from(plan.accepted > 0);
        self.planned += plan.accepted as u64;
        *self.binding.entry(plan.binding.map_or("none", Limit::name)).or_default() += 1;
    }

    /// Adds a step.
    pub(super) fn note_step(&mut self, step: &Step) {
        self.steps += 1;
        self.requests_in_steps += step.request_count() as u64;
    }

    /// Adds an event.
    pub(super) fn note_event(&mut self) {
        self.events += 1;
    }

    /// Number of events that the pipeline handled.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The report of a run of this scenario, and the times behind its percentiles.
    pub fn finish(self, scenario: &Scenario) -> (Report, Times) {
        // Epochs begun until the last request ended.
        let epochs = match scenario.settings.protocol {
            Protocol::Continuous => 0,
            Protocol::Epoch { length, .. } => self.last_end.0.div_ceil(length.0),
        };
        let (summary, times) = self.requests.finish();
        let report = Report {
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
            met_per_epoch: mean(summary.met, epochs),
            ttft_s: summary.ttft.into(),
            tpot_s: summary.tpot.into(),
            e2e_s: summary.e2e.into(),
            plans: self.plans,
            plans_proven: self.plans_proven,
            nodes: self.nodes,
            requests_per_plan: mean(self.planned, self.serving_plans),
            steps: self.steps,
            requests_per_step: mean(self.requests_in_steps, self.steps),
            binding: self.binding,
            rejections: self.rejections,
        };
        (report, times)
    }
}

impl Sink for Tally {
    type Error = Infallible;

    fn decided(&mut self) {
        self.note_event();
    }

    fn planned(&mut self, plan: &PlanReport) -> Result<(), Infallible> {
        self.note_plan(plan);
        Ok(())
    }

    fn stepped(&mut self, _at: Instant, _took: Span, step: &Step) -> Result<(), Infallible> {
        self.note_step(step);
        Ok(())
    }

    fn ended(&mut self, record: Record) -> Result<(), Infallible> {
        self.note_end(&record);
        Ok(())
    }
}

fn mean(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}
