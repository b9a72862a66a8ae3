//! `/v1/files`, but for the upload.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use hedgerow_batch::{FileObject, Listing};
use serde_json::{Value, json};

use super::query::Query;
use super::store_thread::StoreThread;
use crate::api::{ApiError, App};

/// OpenAI's limit of a page of files, and the default.
const PAGE: usize = 10_000;

/// `GET /v1/files`.
pub(super) async fn list(State(app): State<App>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let query = Query::of(&uri);
    let limit = query.limit(PAGE, PAGE)?;
    let listing = Listing {
        purpose: query.get("purpose").map(str::to_owned),
        after: query.get("after").map(str::to_owned),
        oldest_first: match query.get("order") {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(ApiError::bad_value("order", other, "it must be asc or desc")),
        },
    };
    let page = app.0.batches.store()?.call(move |store| store.files(&listing, limit)).await?;
    let (first, last) = (page.data.first().map(|file| &file.id), page.data.last().map(|file| &file.id));
    let list = json!({
        "object": "list", "data": page.data, "first_id": first, "last_id": last, "has_more": page.has_more,
    });
    Ok(Json(list))
}

/// `GET /v1/files/{id}`.
pub(super) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<FileObject>, ApiError> {
    Ok(Json(app.0.batches.store()?.call(move |store| store.file(&id)).await?))
}

/// `DELETE /v1/files/{id}`.
pub(super) async fn delete(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let deleted = json!({ "id": id, "object": "file", "deleted": true });
    app.0.batches.store()?.call(move |store| store.delete_file(&id)).await?;
    Ok(Json(deleted))
}

/// `GET /v1/files/{id}/content`: sent part by part, as the client takes it.
pub(super) async fn content(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let store = app.0.batches.store()?.clone();
    let file = store
        .call({
            let id = id.clone();
            move |store| store.file(&id)
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        // A client sees by it that the content broke off.
        (header::CONTENT_LENGTH, HeaderValue::from(file.bytes.unsigned_abs())),
    ];
    let parts = futures_util::stream::try_unfold(0, move |from| next_part(store.clone(), id.clone(), from));
    Ok((headers, Body::from_stream(parts)).into_response())
}

async fn next_part(store: StoreThread, id: String, from: i64) -> std::io::Result<Option<(Vec<u8>, i64)>> {
    let part = store.call(move |store| store.part(&id, from)).await;
    let part = part.map_err(|failure| std::io::Error::other(failure.to_string()))?;
    Ok(part.map(|part| (part.bytes, part.next)))
}
