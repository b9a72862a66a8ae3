//! The pipeline: read this first.
//!
//! Request queue → batch scheduler → resource allocator → quantization → inference engine → output.
//! The stages are the folders beside this file. A request meets them here: `admit` gives it a place in the
//! queue, `replan` asks the scheduler (which asks quantization for the precisions to try), `start` takes its
//! grant from the allocator, `plan` orders the engine's next step, and `end` writes its record for output.
//!
//! Whoever drives a pipeline tells it what happened and when ([`Event`]) and carries out what it says
//! ([`Order`]). It never waits, so the simulator and the server run the same decisions.

use crate::allocator::{self, Ledger};
use crate::calibration::StepTimeCalibration;
use crate::engine::{EndReason, EngineError, Step, StepReport};
use crate::node::Node;
use crate::output::{Outcome, Record, Rejection};
use crate::output_length::OutputLengthPredictor;
use crate::quantization::{self, LoadedPrecisions, PrecisionIndex};
use crate::queue::Queue;
use crate::request::{Request, RequestId};
use crate::running::Running;
use crate::scheduler::{self, DemandEstimator, InFlight, LiveStatus, Plan, PlanReport, Planned, View};
use crate::settings::{Protocol, Settings};
use crate::time::{Instant, Span};
use crate::units::Tokens;

/// Everything that can happen to the node.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A request has arrived.
    Arrived(Request),
    /// Its caller went away.
    Cancelled(RequestId),
    /// The engine could not open a request that was started.
    OpenFailed {
        /// Which request.
        request: RequestId,
        /// Why.
        error: EngineError,
    },
    /// The step last ordered was run.
    StepDone(StepReport),
    /// The step last ordered could not be run; no request advanced.
    StepFailed(EngineError),
    /// The precision last ordered to be loaded is in memory, or could not be loaded.
    Loaded {
        /// Which.
        precision: PrecisionIndex,
        /// Whether it is there.
        is_there: bool,
    },
    /// A moment asked for by [`Order::WakeAt`] has come. Coming early or for nothing does no harm.
    Woke,
    /// The node is to shut down: nobody new is admitted, and who cannot end by then is told.
    Drain {
        /// When everything must have ended.
        by: Instant,
    },
}

/// What whoever drives the pipeline has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The request was chosen: open it in the engine.
    Start(Running),
    /// Close the request in the engine, if it is open there.
    Stop(RequestId),
    /// Run a step and report it.
    Run(Step),
    /// Drop a precision's weights: nobody runs at it.
    Unload(PrecisionIndex),
    /// Load a precision's weights and say [`Event::Loaded`]; until then no step is ordered.
    Load(PrecisionIndex),
    /// The request has ended; this is the last word about it.
    End(Record),
    /// A plan was made.
    Planned(PlanReport),
    /// Say [`Event::Woke`] then.
    WakeAt(Instant),
}

/// The node's state: every request is in exactly one place, and every resource is free or held.
#[derive(Clone, Debug)]
pub struct Pipeline {
    node: Node,
    settings: Settings,
    queue: Queue,
    running: Vec<Running>,
    /// Answers on the air: complete, not yet all there.
    delivering: Vec<Delivery>,
    ledger: Ledger,
    /// Which precisions are in memory.
    residents: LoadedPrecisions,
    /// What the engine is doing.
    in_flight: Option<InFlight>,
    /// The latest plan, as far as it has not been carried out.
    plan: Option<Plan>,
    /// The epoch planned last (`epoch`).
    planned_epoch: Option<u64>,
    /// How the engine keeps up with its cost model.
    calibration: StepTimeCalibration,
    /// What callers have asked for lately.
    demand: DemandEstimator,
    /// How long answers turned out to be.
    output_lengths: OutputLengthPredictor,
    /// The time that those who name no time are owed, in nanoseconds; negative when they had more.
    owed_ns: i64,
    /// How many requests take part in a step, by the latest plan.
    batch: u32,
    /// Set once the node is to shut down.
    drain_by: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Delivery {
    running: Running,
    end: EndReason,
    /// When it is all there; `None` while the batch that it belongs to still runs (`epoch`).
    arrives: Option<Instant>,
}

impl Pipeline {
    /// An idle node.
    ///
    /// # Panics
    ///
    /// If the node holds no precision, or runs no request at once.
    pub fn new(node: Node, settings: Settings) -> Self {
        assert!(!node.precisions.is_empty(), "a node needs a resident precision");
        assert!(node.max_parallel > 0, "a node runs at least one request at once");
        Self {
            queue: Queue::new(settings.queue_capacity),
            ledger: Ledger::new(&node),
            residents: LoadedPrecisions::new(&node),
            node,
            settings,
            running: Vec::new(),
            delivering: Vec::new(),
            in_flight: None,
            plan: None,
            planned_epoch: None,
            calibration: StepTimeCalibration::default(),
            demand: DemandEstimator::default(),
            output_lengths: OutputLengthPredictor::default(),
            owed_ns: 0,
            batch: u32::MAX,
            drain_by: None,
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn on_event(&mut self, now: Instant, event: Event) -> Vec<Order> {
        let mut orders = Vec::new();
        match event {
            Event::Arrived(request) => self.admit(now, request, &mut orders),
            Event::Cancelled(id) => self.cancel(now, id, &mut orders),
            Event::OpenFailed { request, error } => self.fail(now, request, &error, &mut orders),
            Event::StepDone(report) => self.take_report(now, &report),
            Event::StepFailed(error) => self.fail_step(now, &error, &mut orders),
            Event::Loaded { precision, is_there } => self.take_in(now, precision, is_there, &mut orders),
            Event::Woke => {}
            Event::Drain { by } => self.drain(now, by, &mut orders),
        }
        self.deliver(now, &mut orders);
        self.expire(now, &mut orders);
        if self.in_flight.is_none() {
            self.plan(now, &mut orders);
        }
        orders
    }

    /// Plans: from the waiting requests to the step handed to the engine.
    fn plan(&mut self, now: Instant, orders: &mut Vec<Order>) {
        self.start_planned(now, orders);
        if let Some(load) = self.load_due() {
            self.load(now, load, orders);
            return;
        }
        let step = scheduler::compose(&self.view(now, &[], &[], &[]));
        if step.is_empty() {
            orders.extend(self.next_wake(now).map(Order::WakeAt));
        } else {
            self.in_flight = Some(InFlight::Step { step: step.clone(), ordered: now });
            orders.push(Order::Run(step));
        }
    }

    /// How many requests wait.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Who runs.
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// How a request that has not ended stands: whether it runs, and when it is expected to be done.
    pub fn live_status(&self, now: Instant, id: RequestId) -> Option<LiveStatus> {
        let (waiting, promised, held) = (self.competing(now), self.queue.promised(), self.held_soon());
        scheduler::live_status(&self.view(now, &waiting, &promised, &held), self.plan.as_ref(), id)
    }

    /// Whether nobody waits, runs or is being delivered to.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty() && self.delivering.is_empty()
    }

    /// How the engine keeps up with its cost model.
    pub fn calibration(&self) -> &StepTimeCalibration {
        &self.calibration
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Conservation: memory and band are free or held by exactly one request, to the last byte.
    ///
    /// # Panics
    ///
    /// If they are not.
    pub fn assert_conserved(&self) {
        let delivering = self.delivering.iter().map(|delivery| &delivery.running);
        self.ledger.assert_conserved(self.running.iter().chain(delivering).map(|running| &running.grant));
        self.residents.assert_fits(&self.node);
        for running in &self.running {
            assert!(self.residents.is_held(running.precision), "{} has no weights", running.request.id);
            assert!(!self.queue.contains(running.request.id), "{} waits and runs", running.request.id);
        }
    }
}

mod admission;
mod loading;
mod progress;
mod start;

#[cfg(test)]
mod tests;
