//! Request intake: the checks and the body upload that precede all other work for a request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use hedgerow_core::request::RequestId;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bits, BitsPerSecond, Bytes};
use hedgerow_node::request_log::RequestLog;
use hedgerow_solver::Limit;
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::registry::ServedModel;
use super::requirements::HeaderRequirements;
use super::waiting_bytes::Held;
use super::{ApiError, App};
use crate::access::Caller;
use crate::link::{Connection, Upload};

/// A request with a reserved queue slot, and its body.
pub(super) struct Intake<'a, T> {
    pub(super) served: &'a ServedModel,
    pub(super) caller: Caller,
    /// The connection that carries the answer.
    pub(super) connection: Connection,
    pub(super) log: Arc<RequestLog>,
    pub(super) id: RequestId,
    /// Arrival time; the deadline counts from here.
    pub(super) arrived: Instant,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) requirements: HeaderRequirements,
    pub(super) body: T,
    /// The memory of the body, until its prompt is in the queue.
    pub(super) held: Held,
}

/// Largest body that is parsed in place: less than a millisecond's work.
const IN_PLACE_BYTES: usize = 64 * 1024;

/// From when on a body must keep its least rate.
const RATE_GRACE_S: f64 = 5.0;

/// Stamps the arrival, reads and parses the body, and reserves a queue slot, in this order: a request whose body is not
/// here keeps no other out.
pub(super) async fn take_in<'a, T: Send + 'static>(
    app: &'a App,
    connection: Connection,
    log: Arc<RequestLog>,
    headers: &HeaderMap,
    body: Body,
    parse: fn(&[u8]) -> Result<T, ApiError>,
) -> Result<Intake<'a, T>, ApiError> {
    let arrived = app.0.clock.now();
    let (served, requirements, caller) = match check_head(app, &connection, &log, headers) {
        Ok(checked) => checked,
        Err(error) => {
            discard(body, headers);
            return Err(error);
        }
    };
    log.note(|facts| {
        facts.model = Some(served.name.clone());
        facts.deadline = requirements.deadline;
    });
    let (bytes, held) = read(app, headers, body, arrived, requirements.deadline).await?;
    let body = if bytes.len() <= IN_PLACE_BYTES {
        parse(&bytes)?
    } else {
        app.0.prompt_pool.run(move || parse(&bytes)).await?
    };
    let place = served.node.reserve_place().ok_or_else(|| queue_full(app))?;
    let id = served.node.new_id();
    app.0.request_names.note(headers, id);
    log.note(|facts| facts.id = Some(id));
    Ok(Intake { served, caller, connection, log, id, arrived, place, requirements, body, held })
}

/// What can be refused before the body is read.
fn check_head<'a>(
    app: &'a App,
    connection: &Connection,
    log: &RequestLog,
    headers: &HeaderMap,
) -> Result<(&'a ServedModel, HeaderRequirements, Caller), ApiError> {
    // The lines of a batch have no key: the caller that submitted the batch was checked then.
    let key = if connection.is_in_process() { Ok(None) } else { app.0.access.identify(headers) };
    if let Ok(Some(key)) = &key {
        log.note(|facts| facts.key = Some(key.name().to_owned()));
    }
    let served = app.served()?;
    let key = key?;
    let requirements = HeaderRequirements::read(headers)?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(length) = length {
        let limit = app.0.config.limits.body_bytes;
        if length > limit as u64 {
            return Err(ApiError::body_too_large(limit));
        }
        refuse_hopeless(app.0.config.link.uplink, requirements.deadline, Bytes(length))?;
    }
    if !served.node.has_place() {
        return Err(queue_full(app));
    }
    // Last, because a request that is refused anyway uses nothing of its key's limits.
    Ok((served, requirements, app.0.access.admit(key)?))
}

fn queue_full(app: &App) -> ApiError {
    let retry_after = Span::from_seconds(app.0.metrics.predicted_wait_s());
    ApiError::queue_full(app.0.config.settings.queue_capacity, retry_after)
}

/// Refuses a body that would miss its deadline even with the full uplink capacity.
fn refuse_hopeless(
    uplink: Option<BitsPerSecond>,
    deadline: Option<Span>,
    length: Bytes,
) -> Result<(), ApiError> {
    let (Some(uplink), Some(deadline)) = (uplink, deadline) else {
        return Ok(());
    };
    let takes = Span::from(Bits::new(8.0 * length.0 as f64) / uplink);
    if takes <= deadline {
        return Ok(());
    }
    Err(ApiError::band_exceeded(
        Limit::Uplink,
        format!(
            "a body of {length} takes {takes} on the uplink of {uplink}, more than its deadline of {deadline}"
        ),
        format!("send less, or ask for a deadline later than {takes}"),
    ))
}

/// How much of a refused request's body is read, and for how long: a client that is still sending when the connection is
/// closed may be told of a reset instead of the refusal.
const DISCARDED_BYTES_MAX: usize = 16 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(5);

/// Reads the rest of a refused request's body while the refusal is sent.
fn discard(mut body: Body, headers: &HeaderMap) {
    if headers.contains_key(header::EXPECT) {
        // The client sends its body only when it is asked to.
        return;
    }
    tokio::spawn(tokio::time::timeout(DISCARDING_MAX, async move {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
            if bytes > DISCARDED_BYTES_MAX {
                return;
            }
        }
    }));
}

/// Reads the body, with the deadline as timeout.
async fn read(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
    arrived: Instant,
    deadline: Option<Span>,
) -> Result<(Vec<u8>, Held), ApiError> {
    let timeout = app.0.config.limits.body_timeout;
    let patience = Duration::from_nanos(deadline.unwrap_or(Span::MAX).min(timeout).0);
    let mut upload = app.0.uplink.begin();
    let mut held = app.0.waiting_bytes.begin();
    let reading = parts(app, &mut body, arrived, &mut upload, &mut held);
    let read = tokio::time::timeout(patience, reading).await;
    let count = upload.bytes();
    drop(upload);
    let took = app.0.clock.now().since(arrived);
    app.0.metrics.upload(count, took, app.0.uplink.rate());
    let read = read.unwrap_or_else(|_| {
        let here = format!("{} of the body were here", Bytes(count as u64));
        Err(match deadline.filter(|&deadline| deadline <= timeout) {
            Some(deadline) => ApiError::body_timeout(
                format!("{here} when its deadline of {deadline} had passed"),
                "send less, or ask for a later deadline",
            ),
            None => ApiError::body_timeout(
                format!("{here} after {timeout}, the longest that a body may take"),
                "send it faster, or raise `limits.body_timeout_s`",
            ),
        })
    });
    match read {
        Ok(bytes) => Ok((bytes, held)),
        Err(error) => {
            discard(body, headers);
            Err(error)
        }
    }
}

async fn parts(
    app: &App,
    body: &mut Body,
    arrived: Instant,
    upload: &mut Upload<'_>,
    held: &mut Held,
) -> Result<Vec<u8>, ApiError> {
    let limits = &app.0.config.limits;
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("the request body broke off: {error}");
            ApiError::bad("invalid_body", message, "send the whole body")
        })?;
        let Some(part) = frame.data_ref() else { continue };
        upload.part(part.len());
        if read.len() + part.len() > limits.body_bytes {
            return Err(ApiError::body_too_large(limits.body_bytes));
        }
        if !held.grow(part.len()) {
            return Err(ApiError::bodies_waiting(limits.waiting_bytes));
        }
        read.extend_from_slice(part);
        let took_s = app.0.clock.now().since(arrived).as_seconds();
        if took_s > RATE_GRACE_S && (read.len() as f64) < limits.body_bytes_per_s * took_s {
            let here = Bytes(read.len() as u64);
            let message = format!(
                "the body comes too slowly: {here} in {took_s:.0} s, and the least rate is {} in a second",
                Bytes(limits.body_bytes_per_s as u64)
            );
            return Err(ApiError::body_timeout(message, "send it faster, or lower `limits.body_kib_per_s`"));
        }
    }
    Ok(read)
}
