//! `/debug/requests/{id}`: why a request was admitted, delayed or refused.

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::request::RequestId;
use hedgerow_core::scheduler::LiveStatus;
use hedgerow_core::time::{Instant, Span};
use hedgerow_node::node::RequestStatus;
use serde_json::{Value, json};

use super::{ApiError, App};
use crate::link::Connection;

/// Responds with a one-sentence explanation and the numbers behind it, to operators.
pub(super) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    app.refuse_but_operators(&connection, &headers)?;
    let served = app.served()?;
    let digits = id.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let own = app.0.request_names.find(&id);
    let number = own.map(|id| id.0).or_else(|| digits.parse().ok());
    let number = number.ok_or_else(|| ApiError::no_such_request(&id))?;
    match served.node.explain(RequestId(number)).await {
        Some(RequestStatus::Live { status, now }) => Ok(Json(stands(number, &status, now))),
        Some(RequestStatus::Ended(record)) => Ok(Json(ended(number, &record))),
        None => Err(ApiError::no_such_request(&id)),
    }
}

fn stands(number: u64, status: &LiveStatus, now: Instant) -> Value {
    let LiveStatus { is_running, done, due, ahead, batch, produced, expected } = *status;
    let takes_part = is_running && ahead < batch as usize;
    let state = match (is_running, takes_part) {
        (true, true) => "running",
        (true, false) => "paused",
        (false, _) => "waiting",
    };
    let when = match (done, due) {
        (Some(done), Some(due)) if done <= due => {
            format!("done in {}, {} before its deadline", done.since(now), due.since(done))
        }
        (Some(done), Some(due)) => {
            format!("done in {}, {} after its deadline", done.since(now), done.since(due))
        }
        (Some(done), None) => format!("done in {}", done.since(now)),
        (None, _) => "served with what the others leave, as it names no deadline".into(),
    };
    let text = format!(
        "req-{number} is {state} with {produced} of {expected} expected tokens; {ahead} are more urgent and {batch} take \
         part in a step; it is expected to be {when}"
    );
    json!({
        "id": format!("req-{number}"), "state": state, "text": text, "ahead": ahead, "batch": batch,
        "produced_tokens": produced, "expected_tokens": expected,
        "done_in_ms": done.map(|done| done.since(now).as_millis()),
        "deadline_in_ms": due.map(|due| due.since(now).as_millis()),
    })
}

fn ended(number: u64, record: &Record) -> Value {
    let millis = |span: Option<Span>| span.map(|span| span.as_millis());
    let after = record.ended.since(record.request.arrived);
    let why = match &record.outcome {
        Outcome::Rejected(rejection) => {
            format!("was refused after {after}: {rejection}; {}", rejection.hint())
        }
        Outcome::Met(_) => format!("was answered in time, after {after}"),
        Outcome::Late(_) => format!("was answered late, after {after}"),
        Outcome::Expired => format!("was cut off at its deadline, after {after}"),
        Outcome::Cancelled => format!("was given up by its caller after {after}"),
        Outcome::Failed(error) => format!("failed after {after}: {error}"),
        Outcome::ShutDown => format!("was cut off after {after} because the node shut down"),
    };
    let waited = record.queue_time().map_or(String::new(), |waited| format!(", of which it waited {waited}"));
    json!({
        "id": format!("req-{number}"), "state": record.outcome.name(), "text": format!("req-{number} {why}{waited}"),
        "reason": hedgerow_node::metrics::reason(&record.outcome),
        "prompt_tokens": record.request.prompt_len.0, "cached_tokens": record.cached.0,
        "produced_tokens": record.produced.0, "queue_ms": millis(record.queue_time()),
        "ttft_ms": millis(record.ttft()), "tpot_ms": millis(record.tpot()), "e2e_ms": after.as_millis(),
        "deadline_ms": record.request.deadline.map(|deadline| deadline.since(record.request.arrived).as_millis()),
    })
}
