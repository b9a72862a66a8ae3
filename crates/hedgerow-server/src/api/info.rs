//! Endpoints that report on the server: health, version, models and metrics.

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hedgerow_node::catalogue::Entry;
use hedgerow_node::metrics::Format;
use serde_json::{Value, json};

use super::registry::ServedModel;
use super::{ApiError, App};
use crate::link::Connection;

/// `/health`, `/readyz`: 200 once requests are served, 503 before that and during a shutdown. Reports the kernels in
/// use and, where the fast ones or the devices are not used, the reason.
pub(super) async fn health(State(app): State<App>) -> Response {
    match app.served() {
        Ok(served) => {
            let kernels = served.kernels.iter().map(|(precision, chosen)| {
                let mut about = json!(chosen);
                about["precision"] = json!(precision);
                about
            });
            Json(json!({ "status": "ok", "kernels": kernels.collect::<Vec<_>>() })).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// `/livez`: 200 as long as the server responds.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `/version`.
pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `/v1/models`.
pub(super) async fn models(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    app.0.access.identify(&headers)?;
    let served = app.served()?;
    Ok(Json(json!({ "object": "list", "data": [describe(&app, served)] })))
}

/// `/v1/models/{id}`.
pub(super) async fn model(
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    app.0.access.identify(&headers)?;
    let served = app.served()?;
    let names = served.names();
    if !names.contains(&id) {
        return Err(ApiError::no_such_model(&id, &names));
    }
    Ok(Json(describe(&app, served)))
}

fn describe(app: &App, served: &ServedModel) -> Value {
    let info = served.node.model().info();
    let limits = served.node.limits();
    json!({
        "id": served.name, "object": "model", "created": app.0.started_unix_s, "owned_by": "hedgerow",
        "hedgerow": {
            "architecture": info.architecture, "precision": info.precision, "parameters": info.parameters,
            "weights_bytes": info.weights.0, "train_context_tokens": info.train_context.0,
            "context_tokens": limits.context.0, "parallel": limits.parallel,
            "retained": app.0.config.engine.retained,
            "quality": app.0.config.model.quality.get(),
            "precisions": served.node.precisions().iter().map(|precision| json!({
                "id": format!("{}:{}", served.name, precision.name), "precision": precision.name,
                "quality": precision.quality.get(), "weights_bytes": precision.weights.0,
            })).collect::<Vec<_>>(),
            "catalogue": served.catalogue.get().map(without_places),
        },
    })
}

/// An entry without the fields that must not be exposed outside this machine: the file's path and modification time.
fn without_places(entry: &Entry) -> Value {
    let mut entry = json!(entry);
    if let Some(fields) = entry.as_object_mut() {
        fields.retain(|name, _| !["file", "modified_ns"].contains(&name.as_str()));
    }
    entry
}

/// `/metrics`: for all where no keys are needed, else for operators.
pub(super) async fn metrics(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if app.0.config.access.keys_file.is_some() {
        app.refuse_but_operators(&connection, &headers)?;
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::for_reader(accept);
    let text = app.0.metrics.encode(format).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

/// Handles unknown paths: 404.
pub(super) async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::no_such_path(uri.path())
}

/// Handles a known path with an unsupported method: 405.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}
