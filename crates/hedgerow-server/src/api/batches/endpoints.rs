//! `/v1/batches`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use hedgerow_batch::{BatchObject, CompletionWindow, ENDPOINTS, Metadata, NewBatch};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::Query;
use crate::api::{ApiError, App, unix_s};

/// Largest body of a request for a batch: metadata are its largest part.
const BODY_BYTES: usize = 64 * 1024;

/// OpenAI's limit of a page of batches, and its default.
const PAGE: usize = 100;
const PAGE_DEFAULT: usize = 20;

/// A batch as it is asked for. Fields that are not known are ignored.
#[derive(Deserialize)]
struct WireBatch {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    metadata: Option<Metadata>,
}

/// `POST /v1/batches`.
pub(super) async fn create(State(app): State<App>, body: Body) -> Result<Json<BatchObject>, ApiError> {
    let store = app.0.batches.store()?;
    let bytes = axum::body::to_bytes(body, BODY_BYTES)
        .await
        .map_err(|_| ApiError::bad("unreadable_body", "the body broke off or is too large", "send less"))?;
    let new = new_batch(&bytes)?;
    let batch = store.call(move |store| store.create_batch(&new, now())).await?;
    tracing::info!(
        batch = %batch.id, input = %batch.input_file_id, window = %batch.completion_window, "batch created"
    );
    app.0.batches.wake_runner();
    Ok(Json(batch))
}

fn new_batch(bytes: &[u8]) -> Result<NewBatch, ApiError> {
    let asked: WireBatch = serde_json::from_slice(bytes).map_err(|error| {
        ApiError::bad(
            "invalid_json",
            format!("the body does not describe a batch: {error}"),
            "send an object with input_file_id, endpoint and completion_window",
        )
    })?;
    let WireBatch { input_file_id, endpoint, completion_window, metadata } = asked;
    let known = ENDPOINTS.into_iter().find(|known| *known == endpoint).ok_or_else(|| {
        let limit = format!("it must be {}", ENDPOINTS.join(" or "));
        ApiError::bad_value("endpoint", format!("`{endpoint}`"), &limit)
    })?;
    let window: CompletionWindow = completion_window
        .parse()
        .map_err(|limit| ApiError::bad_value("completion_window", format!("`{completion_window}`"), limit))?;
    Ok(NewBatch { endpoint: known, input_file_id, window, metadata })
}

/// `GET /v1/batches`.
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let query = Query::of(&uri);
    let limit = query.limit(PAGE_DEFAULT, PAGE)?;
    let after = query.get("after").map(str::to_owned);
    let page = app.0.batches.store()?.call(move |store| store.batches(after.as_deref(), limit)).await?;
    let (first, last) = (page.data.first().map(|batch| &batch.id), page.data.last().map(|batch| &batch.id));
    let list = json!({
        "object": "list", "data": page.data, "first_id": first, "last_id": last, "has_more": page.has_more,
    });
    Ok(Json(list))
}

/// `GET /v1/batches/{id}`.
pub(super) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<BatchObject>, ApiError> {
    Ok(Json(app.0.batches.store()?.call(move |store| store.batch(&id)).await?))
}

/// `POST /v1/batches/{id}/cancel`.
pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<BatchObject>, ApiError> {
    let batch = app.0.batches.store()?.call(move |store| store.cancel(&id, now())).await?;
    tracing::info!(batch = %batch.id, "batch is being cancelled");
    app.0.batches.wake_runner();
    Ok(Json(batch))
}

/// The time as the store has it.
pub(super) fn now() -> i64 {
    i64::try_from(unix_s()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Value {
        new_batch(body.as_bytes()).unwrap_err().body()["error"].clone()
    }

    #[test]
    fn what_a_batch_must_be_is_said_with_the_field() {
        let body = |endpoint: &str, window: &str| {
            format!(r#"{{"input_file_id":"f","endpoint":"{endpoint}","completion_window":"{window}","x":1}}"#)
        };
        assert!(new_batch(body("/v1/completions", "90m").as_bytes()).is_ok());
        assert_eq!(refused(&body("/v1/embeddings", "24h"))["param"], "endpoint");
        assert_eq!(refused(&body("/v1/completions", "1d"))["param"], "completion_window");
        assert!(refused("{}")["message"].as_str().unwrap().contains("input_file_id"));
    }
}
