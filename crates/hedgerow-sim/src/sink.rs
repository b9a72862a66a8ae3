//! Where a simulation's story goes while it is told.

use std::convert::Infallible;

use hedgerow_core::engine::Step;
use hedgerow_core::output::Record;
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{Instant, Span};

/// Takes what happens in a simulation, in the order in which it happens. A trait, because a story may be kept
/// ([`Run`]), or summed up, written and timed while it goes on, where keeping it would not fit in memory.
///
/// An error ends the simulation.
pub trait Sink {
    /// Why something could not be taken.
    type Error;

    /// The pipeline is about to be told of an event.
    fn decides(&mut self) {}

    /// It has said what to do about it.
    fn decided(&mut self) {}

    /// It made a plan.
    ///
    /// # Errors
    ///
    /// The sink's own, here and below.
    fn planned(&mut self, plan: &PlanReport) -> Result<(), Self::Error>;

    /// It gave a request what it needs, by its latest plan.
    fn started(&mut self, _running: &Running) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The engine runs a step, from `at` on, for as long as `took`.
    fn stepped(&mut self, at: Instant, took: Span, step: &Step) -> Result<(), Self::Error>;

    /// A request ended.
    fn ended(&mut self, record: Record) -> Result<(), Self::Error>;
}

/// A story that is kept, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// One record for each request, in the order they ended.
    pub records: Vec<Record>,
    /// One report for each plan, in the order they were made.
    pub plans: Vec<PlanReport>,
    /// Steps that the engine ran.
    pub steps: u64,
    /// Requests that took part in them, added up over the steps.
    pub requests_in_steps: u64,
    /// Events that the pipeline was told.
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
