//! What the scheduler sees of the node, and how long it thinks that things take.

use super::demand::DemandEstimator;
use super::reduce;
use crate::allocator::Ledger;
use crate::calibration::StepTimeCalibration;
use crate::engine::cost::ChunkLoad;
use crate::engine::{Step, StepLoad};
use crate::node::Node;
use crate::quantization::PrecisionIndex;
use crate::request::{Request, RequestId};
use crate::running::Running;
use crate::settings::{Protocol, Settings};
use crate::time::{Instant, Span};

/// What the scheduler sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Now.
    pub now: Instant,
    /// Who waits, first come first.
    pub waiting: &'a [&'a Request],
    /// Who of them was accepted by an earlier plan, in order of id.
    pub promised: &'a [RequestId],
    /// The precisions to plan with: those in memory, or those that will be.
    pub held: &'a [PrecisionIndex],
    /// What of them has to be loaded before anybody runs at it, and how long that takes.
    pub load: Option<(PrecisionIndex, Span)>,
    /// Who runs.
    pub running: &'a [Running],
    /// What the engine is doing, which none of the above shows yet.
    pub in_flight: Option<&'a InFlight>,
    /// What is free.
    pub ledger: &'a Ledger,
    /// The node.
    pub node: &'a Node,
    /// How to plan.
    pub settings: &'a Settings,
    /// How the engine keeps up with its cost model.
    pub calibration: &'a StepTimeCalibration,
    /// What callers have asked for lately.
    pub demand: &'a DemandEstimator,
    /// Whether those who name no time are owed a part of the next step.
    pub owes_best_effort: bool,
    /// The most requests that take part in a step; more may run, and pause.
    pub batch: u32,
}

/// What the engine was told to do and has not reported.
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
        /// Which.
        precision: PrecisionIndex,
        /// When it should be there.
        until: Instant,
    },
}

impl InFlight {
    /// Whether the engine loads.
    pub fn is_load(&self) -> bool {
        matches!(self, Self::Load { .. })
    }
}

/// As [`View::stretch`].
pub(super) fn stretch(settings: &Settings, calibration: &StepTimeCalibration) -> f64 {
    (1.0 + settings.margin.max(calibration.margin())) / (1.0 - settings.best_effort_share)
}

impl View<'_> {
    /// The factor by which a predicted time is stretched before it is promised: the margin, and what is kept
    /// for those who name no time.
    pub(super) fn stretch(&self) -> f64 {
        stretch(self.settings, self.calibration)
    }

    /// How long a step will take, as the engine keeps up now.
    pub(super) fn step_time(&self, precision: PrecisionIndex, load: &StepLoad) -> Span {
        let cost =
            |load: &StepLoad| self.node.cost.step(&self.node.model, &self.node.precisions[precision.0], load);
        self.calibration.correct(load, cost)
    }

    /// How long one chunk of a prompt will take by itself.
    pub(super) fn chunk_time(&self, precision: PrecisionIndex, chunk: ChunkLoad) -> Span {
        self.step_time(precision, &StepLoad { prefill: vec![chunk], ..StepLoad::default() })
    }

    /// Whether a request that waits was accepted by an earlier plan.
    pub(super) fn is_promised(&self, request: &Request) -> bool {
        self.promised.binary_search(&request.id).is_ok()
    }

    /// Whether requests that run together may run at different precisions, in steps of their own: only where
    /// those who wait are planned for beside those who run.
    pub(super) fn mixes_precisions(&self) -> bool {
        self.settings.policy.plans_for_all() && self.settings.protocol == Protocol::Continuous
    }

    /// The time in which a waiting request must be done to be accepted: for a newcomer, what those who are
    /// worth more for their work are expected to leave of its slack.
    pub(super) fn slack_to_plan_with(&self, request: &Request) -> Span {
        let slack = request.slack(self.now);
        if slack == Span::MAX || self.is_promised(request) {
            return slack;
        }
        slack.scaled(1.0 - self.part_kept_from(request))
    }

    /// The part of the node's time that is kept for others than this newcomer. An epoch is chosen from all who wait
    /// for it: nothing is kept there.
    pub(super) fn part_kept_from(&self, request: &Request) -> f64 {
        if matches!(self.settings.protocol, Protocol::Epoch { .. }) {
            return 0.0;
        }
        let work = reduce::least_work(request, self.node, self.calibration);
        self.demand.reserve(self.now, request, work)
    }
}
