//! `/v1/hedgerow/state`: what the node is doing now.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use hedgerow_node::node::NodeState;
use serde::Serialize;

use super::{ApiError, App};
use crate::link::Connection;

/// A snapshot of the server.
#[derive(Debug, Serialize)]
pub(super) struct ServerState {
    version: &'static str,
    uptime_s: f64,
    model: String,
    limits: LimitsState,
    kv_used_tokens: u32,
    kv_capacity_tokens: u32,
    connections: i64,
    #[serde(flatten)]
    node: NodeState,
}

/// How much the server takes.
#[derive(Debug, Serialize)]
struct LimitsState {
    queue_capacity: usize,
    parallel: u32,
    context_tokens: u32,
    connections: usize,
}

/// Responds with a snapshot, to operators.
pub(super) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Result<Json<ServerState>, ApiError> {
    app.refuse_but_operators(&connection, &headers)?;
    let served = app.loaded()?;
    let node = served.node.state().await.ok_or_else(ApiError::shutting_down)?;
    let (config, limits) = (&app.0.config, served.node.limits());
    let (kv_used, kv_capacity) = app.0.metrics.kv();
    Ok(Json(ServerState {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: app.0.clock.now().as_seconds(),
        model: served.name.clone(),
        limits: LimitsState {
            queue_capacity: config.settings.queue_capacity,
            parallel: limits.parallel,
            context_tokens: limits.context.0,
            connections: config.limits.connections,
        },
        kv_used_tokens: kv_used.0,
        kv_capacity_tokens: kv_capacity.0,
        connections: app.0.metrics.connections().open_count(),
        node,
    }))
}
