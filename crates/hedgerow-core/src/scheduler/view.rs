//! What the scheduler sees: the node's state, with predictions of step times, and the requests that wait.

use super::demand::DemandEstimator;
use super::reduce;
use crate::allocator::Ledger;
use crate::engine::{Step, StepLoad};
use crate::model::cost::ChunkLoad;
use crate::model::node::Node;
use crate::model::request::{Request, RequestId};
use crate::model::running::Running;
use crate::model::settings::{Protocol, Settings};
use crate::model::time::{Instant, Span};
use crate::quantization::PrecisionIndex;
use crate::scheduler::calibration::StepTimeCalibration;

/// The state of the node that decisions depend on.
#[derive(Clone, Copy, Debug)]
pub struct NodeState<'a> {
    /// The current time.
    pub now: Instant,
    /// Running requests.
    pub running: &'a [Running],
    /// What the engine is doing now; the fields above do not show its effect yet.
    pub in_flight: Option<&'a InFlight>,
    /// Free resources.
    pub ledger: &'a Ledger,
    /// The node.
    pub node: &'a Node,
    /// How to plan.
    pub settings: &'a Settings,
    /// The engine's step times relative to its cost model.
    pub calibration: &'a StepTimeCalibration,
    /// Recent demand.
    pub demand: &'a DemandEstimator,
    /// Whether best-effort requests have credit, so that they take part in the next step first.
    pub best_effort_has_credit: bool,
    /// The most requests that take part in a step; further running requests pause.
    pub batch: u32,
}

/// What a plan is asked: which of the waiting requests to serve in this state, at which of these precisions.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The state of the node.
    pub state: NodeState<'a>,
    /// Waiting requests, in order of arrival.
    pub waiting: &'a [&'a Request],
    /// Waiting requests that an earlier plan admitted, in order of id.
    pub admitted: &'a [RequestId],
    /// The precisions to plan with: those in memory, or those that will be.
    pub held: &'a [PrecisionIndex],
    /// The one of them that has to be loaded before a request runs at it, and how long that takes.
    pub load: Option<(PrecisionIndex, Span)>,
}

/// An order to the engine that it has not reported as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// To run a step.
    Step {
        /// The step.
        step: Step,
        /// When it was ordered.
        ordered: Instant,
    },
    /// To load a precision.
    Load {
        /// The precision.
        precision: PrecisionIndex,
        /// When it is expected to be in memory.
        until: Instant,
    },
}

impl InFlight {
    /// Whether the engine is loading a precision.
    pub fn is_load(&self) -> bool {
        matches!(self, Self::Load { .. })
    }
}

/// As [`NodeState::safety_factor`].
pub(super) fn safety_factor(settings: &Settings, calibration: &StepTimeCalibration) -> f64 {
    (1.0 + settings.margin.max(calibration.margin())) / (1.0 - settings.best_effort_share)
}

impl NodeState<'_> {
    /// The factor applied to predicted times before requests are admitted on them: the margin, and the share
    /// reserved for best-effort requests.
    pub(super) fn safety_factor(&self) -> f64 {
        safety_factor(self.settings, self.calibration)
    }

    /// How long a step will take, at the engine's calibrated speed.
    pub(super) fn step_time(&self, precision: PrecisionIndex, load: &StepLoad) -> Span {
        let cost =
            |load: &StepLoad| self.node.cost.step(&self.node.model, &self.node.precisions[precision.0], load);
        self.calibration.correct(load, cost)
    }

    /// How long one chunk of a prompt will take by itself.
    pub(super) fn chunk_time(&self, precision: PrecisionIndex, chunk: ChunkLoad) -> Span {
        self.step_time(precision, &StepLoad { prefill: vec![chunk], ..StepLoad::default() })
    }

    /// How many places best-effort requests may hold: in continuous batching a quarter of them, at least one, is left
    /// to requests with deadlines or targets, which otherwise could not start until a long answer has ended. A node
    /// with one place leaves none, and with epochs no request arrives while a batch runs.
    pub(crate) fn best_effort_places(&self) -> usize {
        let places = self.node.max_parallel as usize;
        if !self.mixes_precisions() || places == 1 {
            return places;
        }
        places - (places / 4).max(1)
    }

    /// Whether running requests may have different precisions, each in its own steps: only where waiting requests
    /// are planned beside the running ones.
    pub(super) fn mixes_precisions(&self) -> bool {
        self.settings.policy.traits().plans_for_all && self.settings.protocol == Protocol::Continuous
    }
}

impl View<'_> {
    /// The part of the node's time that is reserved against a new request. 0 on an idle node, which serves what is
    /// there rather than what may come; and with epochs, which choose from all requests that wait for them.
    pub(super) fn reserved_part(&self, request: &Request) -> f64 {
        let NodeState { now, running, node, settings, calibration, demand, .. } = self.state;
        let is_idle = running.is_empty() && self.waiting.len() <= 1;
        if is_idle || matches!(settings.protocol, Protocol::Epoch { .. }) {
            return 0.0;
        }
        demand.reserve(now, request, reduce::least_work(request, node, calibration))
    }

    /// Whether a waiting request was admitted by an earlier plan.
    pub(super) fn is_admitted(&self, request: &Request) -> bool {
        self.admitted.binary_search(&request.id).is_ok()
    }

    /// The slack that a waiting request is planned with: full slack for an admitted request; for a new one, what
    /// reserved capacity leaves of it; `None` without a deadline.
    pub(super) fn slack_to_plan_with(&self, request: &Request) -> Option<Span> {
        let slack = request.slack(self.state.now)?;
        let is_admitted = self.is_admitted(request);
        Some(if is_admitted { slack } else { slack.scaled(1.0 - self.reserved_part(request)) })
    }
}
