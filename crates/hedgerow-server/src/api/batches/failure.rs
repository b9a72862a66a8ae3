//! Errors of batches, as clients see them.

use axum::http::StatusCode;
use hedgerow_batch::StoreError;

use crate::api::ApiError;

/// Why a call of the store has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store refused or failed.
    Store(StoreError),
    /// The store's thread has ended, or the call panicked.
    NoStore,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::NoStore => f.write_str("the thread of the batch store did not answer"),
        }
    }
}

/// 501: the server has no batches.
pub(super) fn unavailable(reason: &str) -> ApiError {
    ApiError::other(
        StatusCode::NOT_IMPLEMENTED,
        "batches_unavailable",
        format!("this server has no files and batches: {reason}"),
        "set `batch.folder` (--batch-folder) to a folder that the server can write and no other server uses",
    )
}

/// 429: too many uploads at once.
pub(super) fn too_many_uploads(limit: usize) -> ApiError {
    let message = format!("{limit} files are being uploaded, which is the limit");
    ApiError::other(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", message, "wait until one is complete")
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Store(error) => error,
            Failure::NoStore => return Self::internal(failure.to_string()),
        };
        let message = error.to_string();
        let (status, code, hint, param) = match &error {
            StoreError::NoFile(_) => {
                (StatusCode::NOT_FOUND, "file_not_found", "see the list at /v1/files", None)
            }
            StoreError::NoBatch(_) => {
                (StatusCode::NOT_FOUND, "batch_not_found", "see the list at /v1/batches", None)
            }
            StoreError::FileTooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "file_too_large",
                "split the batch, or raise `batch.max_file_mib`",
                Some("file"),
            ),
            StoreError::Full { .. } => (
                StatusCode::INSUFFICIENT_STORAGE,
                "storage_full",
                "delete files that are not needed any more, or raise `batch.max_stored_mib`",
                None,
            ),
            StoreError::TooManyBatches { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_batches",
                "wait until one ends, cancel one, or raise `batch.max_unfinished`",
                None,
            ),
            StoreError::FileInUse { .. } => {
                (StatusCode::CONFLICT, "file_in_use", "wait until the batch ends, or cancel it", None)
            }
            StoreError::Ended { .. } => {
                (StatusCode::CONFLICT, "batch_ended", "its results are in its output and error files", None)
            }
            StoreError::WrongPurpose { .. } => (
                StatusCode::BAD_REQUEST,
                "invalid_value",
                "upload the lines with the purpose `batch`",
                Some("input_file_id"),
            ),
            StoreError::Metadata(_) => {
                (StatusCode::BAD_REQUEST, "invalid_value", "send fewer or shorter ones", Some("metadata"))
            }
            StoreError::NoUpload => (StatusCode::BAD_REQUEST, "upload_ended", "send the file again", None),
            StoreError::DiskFull => {
                (StatusCode::INSUFFICIENT_STORAGE, "storage_full", "make room on the server's disk", None)
            }
            StoreError::Unwritable { .. }
            | StoreError::InUse { .. }
            | StoreError::Damaged { .. }
            | StoreError::Newer { .. }
            | StoreError::Line { .. }
            | StoreError::Database(_) => {
                tracing::error!("batches: {message}");
                return Self::internal(message);
            }
        };
        let error = Self::other(status, code, message, hint);
        param.map_or_else(|| error.clone(), |param| error.clone().at(param))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_store_names_its_limit_and_the_field() {
        let error = ApiError::from(Failure::from(StoreError::FileTooLarge { limit: 100 }));
        let body = error.body();
        assert_eq!(body["error"]["code"], "file_too_large");
        assert_eq!(body["error"]["param"], "file");
        assert_eq!(body["error"]["message"], "the file is larger than the limit of 100 bytes");
        assert_eq!(ApiError::from(Failure::NoStore).body()["error"]["type"], "server_error");
    }
}
