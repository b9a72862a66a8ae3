//! Why a request was not accepted, and when one that was will be done: the same timeline that decided it,
//! asked again.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::forecast::{self, SequenceForecast};
use super::plan::Plan;
use super::reduce::{self, Candidate};
use super::view::View;
use crate::quantization::PrecisionIndex;
use crate::request::{Request, RequestId};
use crate::time::{Instant, Span};

/// What stood in the way of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionFailure {
    /// It would be done in `done_in`, but has only `left`.
    TooLate {
        /// When it would have its last token, from the decision.
        done_in: Span,
        /// What was left of its deadline.
        left: Span,
    },
    /// It would miss its target for the first token or for the time per token.
    OffPace,
    /// It would make somebody late who has a promise.
    BreaksPromise {
        /// Who.
        to: RequestId,
    },
    /// It could be done, but this part of the node's time is kept for callers who are worth more for their
    /// work and come as they came lately.
    Kept {
        /// Which part, from 0 to 1.
        part: f64,
    },
    /// The precision that it needs is not in memory, and could not be loaded in time or beside those in use.
    NotInMemory,
    /// Its time ran out while it waited for a place.
    RanOut,
}

impl fmt::Display for AdmissionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLate { done_in, left } => write!(f, "it would be done in {done_in}, but has {left}"),
            Self::OffPace => f.write_str("it would miss its target for the first token or for each"),
            Self::BreaksPromise { to } => write!(f, "it would make {to} late, who has a promise"),
            Self::Kept { part } => write!(
                f,
                "{:.0} % of the time is kept for callers who ask for less work for their worth",
                100.0 * part
            ),
            Self::NotInMemory => f.write_str(
                "the precision that it needs is not in memory, and cannot be loaded in time or beside those in use",
            ),
            Self::RanOut => f.write_str("its time ran out while it waited for a place"),
        }
    }
}

/// Why a plan leaves a newcomer out.
pub fn admission_failure(view: &View<'_>, plan: &Plan, request: &Request) -> AdmissionFailure {
    let mut planned = candidates(view, |id| plan.precision_of(id));
    let Some(candidate) = candidate(view, request) else { return AdmissionFailure::NotInMemory };
    planned.push(candidate);
    // Asked as if it had a promise: with all of its slack, so that what is kept for others shows.
    let mut promised = view.promised.to_vec();
    promised.insert(promised.partition_point(|&id| id < request.id), request.id);
    let with_full_slack = View { promised: &promised, ..*view };
    let forecasts = forecast::play(&with_full_slack, plan.batch_limit, &planned);
    let own = forecasts.iter().find(|forecast| forecast.urgency().1 == request.id);
    if let Some(forecast) = own.filter(|forecast| forecast.is_late()) {
        let left = request.slack(view.now);
        return match forecast.finish().filter(|&done_in| done_in > left) {
            Some(done_in) => AdmissionFailure::TooLate { done_in, left },
            None => AdmissionFailure::OffPace,
        };
    }
    match forecasts.iter().find(|forecast| forecast.is_late()) {
        Some(forecast) => AdmissionFailure::BreaksPromise { to: forecast.urgency().1 },
        None => AdmissionFailure::Kept { part: view.part_kept_from(request) },
    }
}

/// Those who wait and are to be served.
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

/// A request as it would be served if only its own time counted.
fn candidate<'a>(view: &View<'_>, request: &'a Request) -> Option<Candidate<'a>> {
    let held = view.held.iter().copied();
    let (precision, work) = reduce::cheapest(request, view.node, view.calibration, held, 1)?;
    Some(Candidate { request, precision, work })
}

/// How a request that has not ended stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// Whether it runs; else it waits for a place.
    pub is_running: bool,
    /// When it is expected to be done, with all that is promised; `None` if nobody awaits it.
    pub done: Option<Instant>,
    /// When it must be done.
    pub due: Option<Instant>,
    /// How many are more urgent.
    pub ahead: usize,
    /// How many take part in a step; whoever has more than so many ahead pauses.
    pub batch: u32,
    /// Tokens produced so far.
    pub produced: u32,
    /// Tokens that it is planned with.
    pub expected: u32,
}

/// How one of those who run or wait stands, by the latest plan.
pub fn live_status(view: &View<'_>, plan: Option<&Plan>, id: RequestId) -> Option<LiveStatus> {
    let running = view.running.iter().find(|running| running.request.id == id);
    let waiting = view.waiting.iter().copied().find(|waiting| waiting.id == id);
    let request = running.map(|running| &running.request).or(waiting)?;
    let planned = match plan {
        Some(plan) => candidates(view, |id| plan.precision_of(id)),
        None => view.waiting.iter().filter_map(|waiting| candidate(view, waiting)).collect(),
    };
    let forecasts = forecast::play(view, view.batch.max(1), &planned);
    let own = forecasts.iter().find(|forecast| forecast.urgency().1 == id);
    Some(LiveStatus {
        is_running: running.is_some(),
        done: own.and_then(SequenceForecast::finish).map(|done| view.now + done),
        due: request.deadline,
        ahead: forecasts.iter().filter(|forecast| forecast.urgency() < request.urgency()).count(),
        batch: view.batch,
        produced: running.map_or(0, |running| running.produced.0),
        expected: request.expected_output.0,
    })
}
