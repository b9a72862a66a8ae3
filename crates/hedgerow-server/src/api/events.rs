//! `/v1/hedgerow/events`: what the node decides, as server-sent events.

use std::convert::Infallible;

use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::{ApiError, App};
use crate::link::Connection;

/// Watchers at once.
const WATCHERS_MAX: usize = 8;

/// Responds with the events from now on, to operators. A watcher that reads too slowly gets the event `lagged` with how
/// many it has missed.
pub(super) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.refuse_but_operators(&connection, &headers)?;
    let watching = app.served()?.node.events(WATCHERS_MAX);
    let watching = watching.ok_or_else(|| ApiError::too_many_watchers(WATCHERS_MAX))?;
    let events = futures_util::stream::unfold(watching, |mut watching| async move {
        let data = match watching.recv().await {
            Ok(event) => json!(event),
            Err(RecvError::Lagged(missed)) => json!({ "event": "lagged", "missed": missed }),
            Err(RecvError::Closed) => return None,
        };
        let name = data["event"].as_str().unwrap_or_default().to_owned();
        Some((Ok::<_, Infallible>(Event::default().event(name).data(data.to_string())), watching))
    });
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-cache")];
    Ok((headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}
