//! Receivers of a simulation's results.

use std::convert::Infallible;

use hedgerow_core::engine::Step;
use hedgerow_core::output::Record;
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{Instant, Span};

/// Receives the results of a simulation in order of time. It is a trait because results may be kept in memory
/// ([`Run`]), or summed up, written or timed during the run if they would not fit in memory.
///
/// An error ends the simulation.
pub trait Sink {
    /// The sink's error.
    type Error;

    /// Called before the pipeline handles an event.
    fn decides(&mut self) {}

    /// Called after the pipeline has handled it.
    fn decided(&mut self) {}

    /// Called when the pipeline has made a plan.
    ///
    /// # Errors
    ///
    /// When the sink fails, here and below.
    fn planned(&mut self, plan: &PlanReport) -> Result<(), Self::Error>;

    /// Called when the pipeline starts a request of its latest plan.
    fn started(&mut self, _running: &Running) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Called when the engine runs a step from `at` for the duration `took`.
    fn stepped(&mut self, at: Instant, took: Span, step: &Step) -> Result<(), Self::Error>;

    /// Called when a request has ended.
    fn ended(&mut self, record: Record) -> Result<(), Self::Error>;
}

/// The complete results of a simulation, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// One record per request, in the order of their ends.
    pub records: Vec<Record>,
    /// One report per plan, in order of time.
    pub plans: Vec<PlanReport>,
    /// Number of engine steps.
    pub steps: u64,
    /// Sum over the steps of the number of requests in a step.
    pub requests_in_steps: u64,
    /// Number of events that the pipeline handled.
    pub events: u64,
}

impl Sink for Run {
    type Error = Infallible;

    fn decided(&mut self) {
        self.events += 1;
    }

    fn planned(&mut self, plan: &PlanReport) -> Result<(), Infallible> {
        self.plans.push(*plan);
        Ok(())
    }

    fn stepped(&mut self, _at: Instant, _took: Span, step: &Step) -> Result<(), Infallible> {
        self.steps += 1;
        self.requests_in_steps += step.request_count() as u64;
        Ok(())
    }

    fn ended(&mut self, record: Record) -> Result<(), Infallible> {
        self.records.push(record);
        Ok(())
    }
}
