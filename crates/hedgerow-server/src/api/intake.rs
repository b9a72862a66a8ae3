//! Request intake: the checks and the body upload that precede all other work for a request.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use hedgerow_core::request::RequestId;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bits, BitsPerSecond, Bytes};
use hedgerow_solver::Limit;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::registry::ServedModel;
use super::requirements::HeaderRequirements;
use super::{ApiError, App};
use crate::link::{Connection, Upload};

/// A request with a reserved queue slot, and its body.
pub(super) struct Intake<'a> {
    pub(super) served: &'a ServedModel,
    /// The connection that carries the answer.
    pub(super) connection: Connection,
    pub(super) id: RequestId,
    /// Arrival time; the deadline counts from here.
    pub(super) arrived: Instant,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) requirements: HeaderRequirements,
    pub(super) body: Value,
}

/// Stamps the arrival, reserves a queue slot, and only then reads and parses the body.
pub(super) async fn take_in<'a>(
    app: &'a App,
    connection: Connection,
    headers: &HeaderMap,
    body: Body,
) -> Result<Intake<'a>, ApiError> {
    let arrived = app.0.clock.now();
    let served = app.served()?;
    let requirements = HeaderRequirements::read(headers)?;
    let deadline = requirements.deadline;
    refuse_hopeless(app.0.config.link.uplink, deadline, headers)?;
    let Some(place) = served.node.reserve_place() else {
        let retry_after = Span::from_seconds(app.0.metrics.predicted_wait_s());
        return Err(ApiError::queue_full(app.0.config.settings.queue_capacity, retry_after));
    };
    let bytes = read(app, body, arrived, deadline).await?;
    let body: Value = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::bad("invalid_json", format!("the body is not JSON: {error}"), "send a JSON object")
    })?;
    if !body.is_object() {
        return Err(ApiError::bad(
            "invalid_json",
            "the body is JSON, but not an object",
            "send a JSON object",
        ));
    }
    Ok(Intake { served, connection, id: served.node.new_id(), arrived, place, requirements, body })
}

/// Refuses a body that would miss its deadline even with the full uplink capacity.
fn refuse_hopeless(
    uplink: Option<BitsPerSecond>,
    deadline: Option<Span>,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (Some(uplink), Some(deadline), Some(length)) = (uplink, deadline, length.map(Bytes)) else {
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

/// Reads the body, with the deadline as timeout: a slow upload occupies a queue slot that other requests could use.
async fn read(app: &App, body: Body, arrived: Instant, deadline: Option<Span>) -> Result<Vec<u8>, ApiError> {
    let limits = &app.0.config.server;
    let patience = deadline.unwrap_or(Span::MAX).min(limits.body_timeout);
    let mut upload = app.0.uplink.begin();
    let limit = limits.max_body_bytes;
    let reading = tokio::time::timeout(Duration::from_nanos(patience.0), parts(body, limit, &mut upload));
    let read = reading.await;
    let bytes = upload.bytes();
    drop(upload);
    let took = app.0.clock.now().since(arrived);
    app.0.metrics.upload(bytes, took, app.0.uplink.rate());
    read.unwrap_or_else(|_| {
        let here = format!("{} of the body were here", Bytes(bytes as u64));
        Err(match deadline.filter(|&deadline| deadline <= limits.body_timeout) {
            Some(deadline) => ApiError::body_timeout(
                format!("{here} when its deadline of {deadline} had passed"),
                "send less, or ask for a later deadline",
            ),
            None => ApiError::body_timeout(
                format!("{here} after {}, the longest that a body may take", limits.body_timeout),
                "send it faster, or raise `server.body_timeout_s`",
            ),
        })
    })
}

async fn parts(body: Body, limit: usize, upload: &mut Upload<'_>) -> Result<Vec<u8>, ApiError> {
    let mut body = Limited::new(body, limit);
    let mut bytes = Vec::new();
    while let Some(part) = body.frame().await {
        let part = part.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ApiError::body_too_large(limit)
            } else {
                let message = format!("the request body ended early: {error}");
                ApiError::bad("unreadable_body", message, "send it again")
            }
        })?;
        // Frames without data are trailers, which are ignored.
        if let Ok(part) = part.into_data() {
            upload.part(part.len());
            bytes.extend_from_slice(&part);
        }
    }
    Ok(bytes)
}
