//! OpenAI's Files and Batch API: files of requests that are run in the slack of other load and survive a restart.
//!
//! - `start.rs`: opens the store before the server serves, and starts the runner
//! - `store_thread.rs`: the only thread that uses the store
//! - `upload.rs`, `files.rs`, `endpoints.rs`: the endpoints
//! - `runner.rs`: chooses the lines to run; `line.rs` runs one through the server's own router; `pace.rs` says how many
//!   at once
//! - `failure.rs`: errors of the store as clients see them

mod endpoints;
mod failure;
mod files;
mod line;
mod pace;
mod query;
mod runner;
#[cfg(test)]
mod runner_tests;
mod start;
mod store_thread;
mod upload;
#[cfg(test)]
mod upload_tests;

use std::sync::OnceLock;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::{Notify, Semaphore};

use super::{ApiError, App};
use crate::link::Connection;
pub(crate) use start::start;
use store_thread::StoreThread;

/// Uploads at once: each holds a part of its file in memory.
const UPLOADS_MAX: usize = 8;

/// What the endpoints and the runner share.
pub(super) struct Batches {
    /// The store, or why there is none; empty until the start.
    store: OnceLock<Result<StoreThread, String>>,
    uploads: Semaphore,
    /// Wakes the runner: a batch was created or cancelled, or the server is shutting down.
    changed: Notify,
}

impl Batches {
    /// Creates the state before the store is opened.
    pub(super) fn new() -> Self {
        Self { store: OnceLock::new(), uploads: Semaphore::new(UPLOADS_MAX), changed: Notify::new() }
    }

    /// Wakes the runner, which then looks at what there is to do.
    pub(super) fn wake_runner(&self) {
        self.changed.notify_one();
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// 501 with the reason where the server has no batches, 503 before the store is opened.
    fn store(&self) -> Result<&StoreThread, ApiError> {
        let opened = self.store.get().ok_or_else(ApiError::loading)?;
        opened.as_ref().map_err(|reason| failure::unavailable(reason))
    }
}

/// The endpoints of files and batches.
pub(super) fn routes(app: App) -> Router<App> {
    Router::new()
        // The upload has a limit of its own, `batch.max_file_mib`.
        .route("/v1/files", get(files::list).post(upload::handle).layer(DefaultBodyLimit::disable()))
        .route("/v1/files/{id}", get(files::get).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", get(endpoints::list).post(endpoints::create))
        .route("/v1/batches/{id}", get(endpoints::get))
        .route("/v1/batches/{id}/cancel", post(endpoints::cancel))
        .route_layer(middleware::from_fn_with_state(app, guard))
}

/// Files and batches have no owners. So where callers are told apart by keys, only operators may use them.
async fn guard(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if app.0.config.access.keys_file.is_some() {
        app.refuse_but_operators(&connection, request.headers())?;
    }
    Ok(next.run(request).await)
}
