//! The pipeline: read this first.
//!
//! Request queue → batch scheduler → resource allocator → quantization → inference engine → output.
//! The stages are the folders beside this file. A request meets them here: `admit` gives it a place in the
//! queue, `replan` asks the scheduler (which asks quantization for the precisions to try), `start` takes its
//! grant from the allocator, `plan` orders the engine's next step, and `end` writes its record for output.
//!
//! A driver reports to the pipeline what happened and when ([`Event`]) and carries out its orders ([`Order`]). The
//! pipeline never waits, so the simulator and the server run the same decisions.

use crate::allocator::Ledger;
use crate::engine::{EndReason, EngineError, Step, StepReport};
use crate::model::node::Node;
use crate::model::request::{Request, RequestId};
use crate::model::running::Running;
use crate::model::settings::Settings;
use crate::model::time::Instant;
use crate::output::Record;
use crate::quantization::{LoadedPrecisions, PrecisionIndex};
use crate::queue::Queue;
use crate::scheduler::calibration::StepTimeCalibration;
use crate::scheduler::output_length::OutputLengthPredictor;
use crate::scheduler::{self, DemandEstimator, InFlight, LiveStatus, Plan, PlanReport};

/// Everything that can happen to the node.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A request has arrived.
    Arrived(Request),
    /// The caller cancelled a request.
    Cancelled(RequestId),
    /// The engine could not open a started request.
    OpenFailed {
        /// The request.
        request: RequestId,
        /// The cause.
        error: EngineError,
    },
    /// The step ordered last has run.
    StepDone(StepReport),
    /// The step ordered last could not be run; no request advanced.
    StepFailed(EngineError),
    /// The load ordered last has ended: the precision is in memory, or could not be loaded.
    Loaded {
        /// The precision.
        precision: PrecisionIndex,
        /// Whether it is in memory.
        is_there: bool,
    },
    /// A time requested by [`Order::WakeAt`] has come. Early and spurious wake-ups are harmless.
    Woke,
    /// The node is to shut down: no new request is admitted, and requests that cannot end in time are notified.
    Drain {
        /// When everything must have ended.
        by: Instant,
    },
}

/// What the driver has to do, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Open the request in the engine: it starts.
    Start(Running),
    /// Close the request in the engine, if it is open there.
    Stop(RequestId),
    /// Run a step and report it by [`Event::StepDone`] or [`Event::StepFailed`].
    Run(Step),
    /// Drop a precision's weights: no request runs at it.
    Unload(PrecisionIndex),
    /// Load a precision's weights and report it by [`Event::Loaded`]; until then no step is ordered.
    Load(PrecisionIndex),
    /// The request has ended; no further order concerns it.
    End(Record),
    /// A plan was made.
    Planned(PlanReport),
    /// Send [`Event::Woke`] at this time.
    WakeAt(Instant),
}

/// The node's state: every request is in exactly one place, and every resource is free or held.
#[derive(Clone, Debug)]
pub struct Pipeline {
    node: Node,
    settings: Settings,
    queue: Queue,
    running: Vec<Running>,
    /// Complete answers that are still being transmitted.
    delivering: Vec<Delivery>,
    ledger: Ledger,
    /// Which precisions are in memory.
    loaded: LoadedPrecisions,
    /// What the engine is doing.
    in_flight: Option<InFlight>,
    /// The part of the latest plan that has not been carried out.
    plan: Option<Plan>,
    /// The epoch planned last (`epoch`).
    planned_epoch: Option<u64>,
    /// The engine's step times relative to its cost model.
    calibration: StepTimeCalibration,
    /// When a request was last admitted by the profile alone.
    probed: Option<Instant>,
    /// Recent demand.
    demand: DemandEstimator,
    /// Output lengths of recent answers.
    output_lengths: OutputLengthPredictor,
    /// Best-effort credit in nanoseconds of node time; negative when best-effort requests used more than their share.
    credit_ns: i64,
    /// How many requests take part in a step, by the latest plan.
    batch: u32,
    /// Set once the node is to shut down.
    drain_by: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Delivery {
    running: Running,
    end: EndReason,
    /// When its transmission ends; `None` while the batch that it belongs to still runs (`epoch`).
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
            loaded: LoadedPrecisions::new(&node),
            node,
            settings,
            running: Vec::new(),
            delivering: Vec::new(),
            in_flight: None,
            plan: None,
            planned_epoch: None,
            calibration: StepTimeCalibration::default(),
            probed: None,
            demand: DemandEstimator::default(),
            output_lengths: OutputLengthPredictor::default(),
            credit_ns: 0,
            batch: u32::MAX,
            drain_by: None,
        }
    }

    /// Handles an event and returns the orders that follow from it.
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

    /// Starts planned requests, then orders the engine's next step or load, or a wake-up.
    fn plan(&mut self, now: Instant, orders: &mut Vec<Order>) {
        self.start_planned(now, orders);
        if let Some(load) = self.load_due() {
            self.load(now, load, orders);
            return;
        }
        let step = scheduler::compose(&self.state(now));
        if step.is_empty() {
            orders.extend(self.next_wake(now).map(Order::WakeAt));
        } else {
            self.in_flight = Some(InFlight::Step { step: step.clone(), ordered: now });
            orders.push(Order::Run(step));
        }
    }

    /// The number of waiting requests.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// The running requests.
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// The status of a request that has not ended: whether it runs, and when it is expected to be done.
    pub fn live_status(&self, now: Instant, id: RequestId) -> Option<LiveStatus> {
        let (waiting, admitted, held) = (self.competing(now), self.queue.admitted(), self.held_soon());
        scheduler::live_status(&self.view(now, &waiting, &admitted, &held), self.plan.as_ref(), id)
    }

    /// The statuses of all waiting and running requests, by one forecast.
    pub fn live_statuses(&self, now: Instant) -> Vec<(RequestId, LiveStatus)> {
        let (waiting, admitted, held) = (self.competing(now), self.queue.admitted(), self.held_soon());
        let view = self.view(now, &waiting, &admitted, &held);
        scheduler::live_statuses(&view, self.plan.as_ref(), |_| true)
    }

    /// The waiting requests, in order of arrival.
    pub fn waiting(&self) -> impl Iterator<Item = &Request> {
        self.queue.iter()
    }

    /// Whether a precision is in memory.
    pub fn is_resident(&self, precision: PrecisionIndex) -> bool {
        self.loaded.is_held(precision)
    }

    /// Whether no request waits, runs or is being delivered.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty() && self.delivering.is_empty()
    }

    /// The engine's step times relative to its cost model.
    pub fn calibration(&self) -> &StepTimeCalibration {
        &self.calibration
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Checks conservation: every byte of memory and every share of the band is free or held by exactly one request.
    ///
    /// # Panics
    ///
    /// If conservation is violated.
    pub fn assert_conserved(&self) {
        let delivering = self.delivering.iter().map(|delivery| &delivery.running);
        self.ledger.assert_conserved(self.running.iter().chain(delivering).map(|running| &running.grant));
        self.loaded.assert_fits(&self.node);
        for running in &self.running {
            assert!(self.loaded.is_held(running.precision), "{} has no weights", running.request.id);
            assert!(!self.queue.contains(running.request.id), "{} waits and runs", running.request.id);
        }
    }
}

mod admission;
mod loading;
mod progress;
pub mod scripted;
mod start;

#[cfg(test)]
mod tests;
