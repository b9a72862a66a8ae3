//! A snapshot of the node for operators.

use std::collections::BTreeMap;

use hedgerow_core::Pipeline;
use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::LiveStatus;
use hedgerow_core::time::Instant;
use serde::Serialize;

/// What the node has at one moment; all numbers are of the same moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeState {
    /// The precisions that are served.
    pub precisions: Vec<PrecisionState>,
    /// The waiting requests, in order of arrival.
    pub waiting: Vec<WaitingState>,
    /// The running requests.
    pub running: Vec<RunningState>,
    /// How step times compare with the cost model.
    pub calibration: CalibrationState,
}

/// A served precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrecisionState {
    /// Its name.
    pub precision: String,
    /// Whether its weights are in memory.
    pub is_resident: bool,
}

/// A waiting request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaitingState {
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// `due` with a deadline or a latency target, else `best_effort`.
    pub urgency: &'static str,
    /// Time left to its deadline, in ms; negative once it has passed.
    pub deadline_in_ms: Option<f64>,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Time since its arrival, in ms.
    pub since_ms: f64,
    /// When the latest plan expects it to be done, in ms from now.
    pub done_in_ms: Option<f64>,
}

/// A running request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunningState {
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// The precision that it runs at.
    pub precision: String,
    /// Tokens produced.
    pub produced_tokens: u32,
    /// Output tokens that it is planned with.
    pub expected_tokens: u32,
    /// Time left to its deadline, in ms; negative once it has passed.
    pub deadline_in_ms: Option<f64>,
    /// When the latest plan expects it to be done, in ms from now.
    pub done_in_ms: Option<f64>,
    /// Its tokens in the KV cache: prompt tokens prefilled and tokens produced.
    pub kv_tokens: u32,
    /// Its share of the downlink, 0 to 1; 0 where the downlink is not shared.
    pub downlink_share: f64,
}

/// How the latest step times compare with the cost model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationState {
    /// Measured over predicted time of prompt chunks.
    pub prompts: f64,
    /// Measured over predicted time of decodes.
    pub decodes: f64,
    /// The part by which predictions are lengthened for safety, if it is more than `planning.margin`.
    pub margin: f64,
}

impl NodeState {
    /// The state of a pipeline at a time.
    pub(super) fn of(pipeline: &Pipeline, now: Instant) -> Self {
        let statuses: BTreeMap<RequestId, LiveStatus> = pipeline.live_statuses(now).into_iter().collect();
        let done_in_ms = |id: RequestId| Some(until_ms(statuses.get(&id)?.done?, now));
        let name = |index: PrecisionIndex| pipeline.node().precisions[index.0].name.clone();
        let waiting = |request: &Request| WaitingState {
            id: format!("req-{}", request.id.0),
            urgency: if request.urgency().due().is_some() { "due" } else { "best_effort" },
            deadline_in_ms: request.deadline.map(|deadline| until_ms(deadline, now)),
            prompt_tokens: request.prompt_len.0,
            since_ms: now.since(request.arrived).as_millis(),
            done_in_ms: done_in_ms(request.id),
        };
        let running = |running: &Running| RunningState {
            id: format!("req-{}", running.request.id.0),
            precision: name(running.precision),
            produced_tokens: running.produced.0,
            expected_tokens: running.request.expected_output.0,
            deadline_in_ms: running.request.deadline.map(|deadline| until_ms(deadline, now)),
            done_in_ms: done_in_ms(running.request.id),
            kv_tokens: running.prefilled.0 + running.produced.0,
            downlink_share: running.grant.downlink.fraction(),
        };
        let precision = |index: usize| PrecisionState {
            precision: name(PrecisionIndex(index)),
            is_resident: pipeline.is_resident(PrecisionIndex(index)),
        };
        let calibration = pipeline.calibration();
        let factors = calibration.factors();
        Self {
            precisions: (0..pipeline.node().precisions.len()).map(precision).collect(),
            waiting: pipeline.waiting().map(waiting).collect(),
            running: pipeline.running().iter().map(running).collect(),
            calibration: CalibrationState {
                prompts: factors.prompts,
                decodes: factors.decodes,
                margin: calibration.margin(),
            },
        }
    }
}

/// The time from `now` until `at` in ms; negative if it has passed.
fn until_ms(at: Instant, now: Instant) -> f64 {
    if at < now { -now.since(at).as_millis() } else { at.since(now).as_millis() }
}
