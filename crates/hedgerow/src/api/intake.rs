//! The first steps of every request, before anything is spent on it.

use axum::body::Body;
use axum::http::HeaderMap;
use hedgerow_core::request::RequestId;
use hedgerow_core::time::{Instant, Span};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{ApiError, App, Serving};

/// A request that has a place in the queue, and its body.
pub(super) struct Intake<'a> {
    pub(super) serving: &'a Serving,
    pub(super) id: RequestId,
    /// When it came; its deadline counts from here.
    pub(super) arrived: Instant,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// Stamps the arrival, reserves a place, and only then reads and parses the body.
pub(super) async fn take_in(app: &App, headers: HeaderMap, body: Body) -> Result<Intake<'_>, ApiError> {
    let arrived = app.0.clock.now();
    let serving = app.serving()?;
    let Some(place) = serving.node.reserve_place() else {
        let retry_after = Span::from_seconds(app.0.metrics.predicted_wait_s());
        return Err(ApiError::queue_full(app.0.config.settings.queue_capacity, retry_after));
    };
    let limit = app.0.config.server.max_body_bytes;
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|error| {
        if is_length_limit(&error) {
            ApiError::body_too_large(limit)
        } else {
            ApiError::bad(
                "unreadable_body",
                format!("the request body ended early: {error}"),
                "send it again",
            )
        }
    })?;
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
    Ok(Intake { serving, id: serving.node.new_id(), arrived, place, headers, body })
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
