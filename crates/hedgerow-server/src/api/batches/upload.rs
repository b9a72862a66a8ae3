//! `POST /v1/files`: an upload goes to the store part by part, so that a file is never in memory as a whole.

use std::time::Duration;

use axum::Json;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use hedgerow_batch::{FileObject, UploadId};

use super::UPLOADS_MAX;
use super::endpoints::now;
use super::failure::too_many_uploads;
use super::store_thread::StoreThread;
use crate::api::{ApiError, App};

/// Bytes that are gathered before they go to the store, which waits for the disk each time.
const PART_BYTES: usize = 1 << 20;

/// Longest value of a field that is no file.
const FIELD_BYTES: usize = 1024;

/// Longest file name that is kept.
const NAME_LETTERS: usize = 255;

/// An upload; what came of it is removed if this is dropped before its end.
struct Uploading {
    store: StoreThread,
    id: UploadId,
    name: String,
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.store.drop_upload(self.id);
    }
}

/// Handles an upload: a form with the fields `purpose` and `file`, in any order.
pub(super) async fn handle(
    State(app): State<App>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<FileObject>, ApiError> {
    let store = app.0.batches.store()?;
    let _turn = app.0.batches.uploads.try_acquire().map_err(|_| too_many_uploads(UPLOADS_MAX))?;
    let mut form = form.map_err(|rejection| {
        let hint = "send a multipart/form-data body with the fields `purpose` and `file`";
        ApiError::bad("invalid_form", rejection.body_text(), hint)
    })?;
    let patience = Duration::from_nanos(app.0.config.limits.body_timeout.0);
    let (mut purpose, mut file) = (None, None);
    loop {
        let field = in_time(patience, form.next_field()).await?;
        let Some(field) = field else { break };
        match field.name() {
            Some("purpose") => purpose = Some(text(field, patience).await?),
            Some("file") if file.is_none() => file = Some(receive(field, store, patience).await?),
            Some("file") => {
                return Err(ApiError::bad("invalid_form", "the form has two files", "send one").at("file"));
            }
            // Fields that are not known are ignored, as far as they are short.
            _ => drop(text(field, patience).await?),
        }
    }
    match purpose.as_deref() {
        Some("batch") => {}
        None => return Err(missing("purpose")),
        Some(other) => {
            let limit = "`batch` is the only purpose of an upload";
            return Err(ApiError::bad_value("purpose", format!("`{other}`"), limit));
        }
    }
    let file: Uploading = file.ok_or_else(|| missing("file"))?;
    let (id, name) = (file.id, file.name.clone());
    let object = store.call(move |store| store.finish_upload(id, &name)).await?;
    Ok(Json(object))
}

fn missing(field: &'static str) -> ApiError {
    let hint = "send the fields `purpose` and `file`";
    ApiError::bad("missing_required_parameter", format!("the form has no field `{field}`"), hint).at(field)
}

/// Sends the content of a file to the store.
async fn receive(
    mut field: Field<'_>,
    store: &StoreThread,
    patience: Duration,
) -> Result<Uploading, ApiError> {
    let name = field.file_name().unwrap_or("upload.jsonl").chars().take(NAME_LETTERS).collect();
    let id = store.call(|store| store.begin_upload(now())).await?;
    let uploading = Uploading { store: store.clone(), id, name };
    let mut part = Vec::new();
    loop {
        let chunk = in_time(patience, field.chunk()).await?;
        let is_last = chunk.is_none();
        chunk.into_iter().for_each(|chunk| part.extend_from_slice(&chunk));
        if part.len() >= PART_BYTES || (is_last && !part.is_empty()) {
            let full = std::mem::take(&mut part);
            store.call(move |store| store.append(id, &full)).await?;
        }
        if is_last {
            return Ok(uploading);
        }
    }
}

/// The value of a field that is no file.
async fn text(mut field: Field<'_>, patience: Duration) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = in_time(patience, field.chunk()).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > FIELD_BYTES {
            let name = field.name().unwrap_or("a field").to_owned();
            let message = format!("`{name}` has more than {FIELD_BYTES} bytes");
            return Err(ApiError::bad("invalid_form", message, "only `file` may be long").at(name));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for the next part of the form: a client may take long for a large file, but not pause for long.
async fn in_time<T>(
    patience: Duration,
    part: impl Future<Output = Result<T, MultipartError>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(patience, part).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ApiError::other(error.status(), "file_too_large", error.body_text(), "send less"))
        }
        Ok(Err(error)) => Err(ApiError::bad("invalid_form", error.body_text(), "send it again")),
        Err(_) => Err(ApiError::body_timeout(
            format!("nothing of the file came for {} s", patience.as_secs_f64()),
            "send it again, or raise `limits.body_timeout_s`",
        )),
    }
}
