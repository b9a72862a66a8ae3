//! The wall time of plans on this machine; the simulator itself reads no clock, so it is read here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hedgerow_core::engine::Step;
use hedgerow_core::output::Record;
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{self, Span};
use hedgerow_node::files::write_whole;
use hedgerow_sim::{Output, Sink};
use serde::Serialize;

use crate::commands::bench::files::csv_of;
use crate::commands::instances::cannot_write;

/// One line of plan_times.csv.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PlanTime {
    /// When the plan was made, in virtual time.
    time_s: f64,
    /// The wall time of the decision that made it.
    decision_us: f64,
}

/// An output that also measures the wall time of each plan, if that is wanted.
pub(super) struct Timed {
    output: Output,
    plan_times: Option<Vec<PlanTime>>,
    began: Instant,
    took: Duration,
}

impl Timed {
    pub(super) fn new(output: Output, are_wanted: bool) -> Self {
        let plan_times = are_wanted.then(Vec::new);
        Self { output, plan_times, began: Instant::now(), took: Duration::ZERO }
    }

    pub(super) fn into_parts(self) -> (Output, Option<Vec<PlanTime>>) {
        (self.output, self.plan_times)
    }
}

impl Sink for Timed {
    type Error = <Output as Sink>::Error;

    fn decides(&mut self) {
        if self.plan_times.is_some() {
            self.began = Instant::now();
        }
    }

    fn decided(&mut self) {
        if self.plan_times.is_some() {
            self.took = self.began.elapsed();
        }
        self.output.decided();
    }

    fn planned(&mut self, plan: &PlanReport) -> Result<(), Self::Error> {
        let (time_s, decision_us) = (plan.at.as_seconds(), self.took.as_secs_f64() * 1e6);
        self.plan_times.iter_mut().for_each(|times| times.push(PlanTime { time_s, decision_us }));
        self.output.planned(plan)
    }

    fn started(&mut self, running: &Running) -> Result<(), Self::Error> {
        self.output.started(running)
    }

    fn stepped(&mut self, at: time::Instant, took: Span, step: &Step) -> Result<(), Self::Error> {
        self.output.stepped(at, took, step)
    }

    fn ended(&mut self, record: Record) -> Result<(), Self::Error> {
        self.output.ended(record)
    }
}

/// Writes plan_times.csv into a folder.
pub(super) fn write(folder: &Path, plan_times: &[PlanTime]) -> anyhow::Result<PathBuf> {
    let path = folder.join("plan_times.csv");
    write_whole(&path, &csv_of(plan_times)?).map_err(|error| cannot_write(&path, &error))?;
    Ok(path)
}
