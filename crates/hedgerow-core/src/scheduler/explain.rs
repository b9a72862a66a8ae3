//! Why a request was rejected, and when an admitted one will be done: both read off the forecast that the plan was
//! decided by.

use serde::{Deserialize, Serialize};

use super::forecast::{self, SequenceForecast};
use super::plan::Plan;
use super::reduce::{self, Candidate};
use super::view::View;
use crate::model::request::{Request, RequestId};
use crate::model::running::Running;
use crate::model::time::{Instant, Span};
use crate::output::AdmissionFailure;
use crate::quantization::PrecisionIndex;

/// Explains why a plan leaves a new request out.
pub fn admission_failure(view: &View<'_>, plan: &Plan, request: &Request) -> AdmissionFailure {
    let mut planned = candidates(view, |id| plan.precision_of(id));
    let Some(candidate) = candidate(view, request) else { return AdmissionFailure::NotInMemory };
    planned.push(candidate);
    // Forecast as if it were admitted, with full slack: if it would then be in time, reserved capacity kept it out.
    let mut admitted = view.admitted.to_vec();
    admitted.insert(admitted.partition_point(|&id| id < request.id), request.id);
    let with_full_slack = View { admitted: &admitted, ..*view };
    let forecasts = forecast::play(&with_full_slack, plan.batch_limit, &planned);
    let own = forecasts.iter().find(|forecast| forecast.urgency().id() == request.id);
    if let Some(forecast) = own.filter(|forecast| forecast.is_late()) {
        return match (forecast.finish(), request.slack(view.state.now)) {
            (Some(done_in), Some(left)) if done_in > left => AdmissionFailure::TooLate { done_in, left },
            _ => AdmissionFailure::OffPace,
        };
    }
    match forecasts.iter().find(|forecast| forecast.is_late()) {
        Some(forecast) => AdmissionFailure::DelaysAdmitted { to: forecast.urgency().id() },
        None => AdmissionFailure::Reserved { part: view.reserved_part(request) },
    }
}

/// The waiting requests that are planned, each at its precision.
fn candidates<'a>(
    view: &View<'a>,
    precision_of: impl Fn(RequestId) -> Option<PrecisionIndex>,
) -> Vec<Candidate<'a>> {
    let planned = |&request: &&'a Request| {
        let precision = precision_of(request.id)?;
        Some(Candidate { request, precision, work: Span::ZERO })
    };
    view.waiting.iter().filter_map(planned).collect()
}

/// A request at the precision at which it takes the least time by itself.
fn candidate<'a>(view: &View<'_>, request: &'a Request) -> Option<Candidate<'a>> {
    let held = view.held.iter().copied();
    let (precision, work) = reduce::cheapest(request, view.state.node, view.state.calibration, held, 1)?;
    Some(Candidate { request, precision, work })
}

/// The status of a request that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// Whether it runs; else it waits for a place.
    pub is_running: bool,
    /// When it is expected to be done, given all admitted requests; `None` for a best-effort request that the
    /// forecast does not reach.
    pub done: Option<Instant>,
    /// When it must be done.
    pub due: Option<Instant>,
    /// How many requests are more urgent.
    pub ahead: usize,
    /// How many requests take part in a step; a running request with at least so many ahead of it pauses.
    pub batch: u32,
    /// Tokens produced so far.
    pub produced: u32,
    /// Output tokens that it is planned with.
    pub expected: u32,
}

/// The status of a running or waiting request, by the latest plan.
pub fn live_status(view: &View<'_>, plan: Option<&Plan>, id: RequestId) -> Option<LiveStatus> {
    live_statuses(view, plan, |request| request.id == id).pop().map(|(_, status)| status)
}

/// The statuses of the running and waiting requests that are asked for, by one forecast of the latest plan.
pub fn live_statuses(
    view: &View<'_>,
    plan: Option<&Plan>,
    is_asked: impl Fn(&Request) -> bool,
) -> Vec<(RequestId, LiveStatus)> {
    let running = view.state.running.iter().map(|running| (&running.request, Some(running)));
    let waiting = view.waiting.iter().map(|&waiting| (waiting, None));
    let asked: Vec<_> = running.chain(waiting).filter(|(request, _)| is_asked(request)).collect();
    if asked.is_empty() {
        return Vec::new();
    }
    let planned = match plan {
        Some(plan) => candidates(view, |id| plan.precision_of(id)),
        None => view.waiting.iter().filter_map(|waiting| candidate(view, waiting)).collect(),
    };
    let forecasts = forecast::play(view, view.state.batch.max(1), &planned);
    let status = |(request, running): (&Request, Option<&Running>)| {
        let own = forecasts.iter().find(|forecast| forecast.urgency().id() == request.id);
        let status = LiveStatus {
            is_running: running.is_some(),
            done: own.and_then(SequenceForecast::finish).map(|done| view.state.now + done),
            due: request.deadline,
            ahead: forecasts.iter().filter(|forecast| forecast.urgency() < request.urgency()).count(),
            batch: view.state.batch,
            produced: running.map_or(0, |running| running.produced.0),
            expected: request.expected_output.0,
        };
        (request.id, status)
    };
    asked.into_iter().map(status).collect()
}
