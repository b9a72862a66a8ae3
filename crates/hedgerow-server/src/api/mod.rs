//! The OpenAI-compatible HTTP API.
//!
//! Request path: [`origin`] refuses what a browser must not send; [`intake`] stamps the arrival, reads the body and reserves
//! a queue slot; a protocol ([`openai`]) turns the body into a [`generation::GenerationRequest`]; [`generation::generate`] tokenizes the prompt
//! and submits it to the node; [`respond`] sends what happens then in the protocol's own objects. A protocol is a
//! folder.

mod batches;
mod error;
mod events;
mod explain;
mod generation;
mod info;
mod intake;
mod openai;
mod origin;
mod paced_response;
mod prompt;
mod prompt_pool;
mod registry;
mod request_line;
mod request_names;
mod requirements;
mod respond;
mod state;
mod waiting_bytes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use hedgerow_node::catalogue::Catalogue;
use hedgerow_node::clock::Clock;
use hedgerow_node::config::Config;
use hedgerow_node::metrics::Metrics;
use hedgerow_node::node::Node;
use hedgerow_node::token_size::TokenSizeEstimator;

use crate::access::Access;
use crate::link::{Connection, Uplink};

pub(crate) use batches::start as start_batches;
pub(crate) use error::ApiError;
pub(crate) use origin::OriginRules;
use prompt_pool::PromptPool;
use registry::ModelRegistry;
pub(crate) use registry::ServedModel;
use request_names::RequestNames;
use waiting_bytes::WaitingBytes;

/// The state shared by all handlers.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    uplink: Uplink,
    token_sizes: Arc<TokenSizeEstimator>,
    /// When the server started, in Unix seconds.
    started_unix_s: u64,
    models: ModelRegistry,
    prompt_pool: PromptPool,
    waiting_bytes: WaitingBytes,
    request_names: RequestNames,
    access: Access,
    batches: batches::Batches,
    is_draining: AtomicBool,
}

impl App {
    /// Creates an application whose model is not loaded yet.
    ///
    /// # Errors
    ///
    /// When the keys file is invalid, or a thread cannot be started.
    pub fn new(config: Config, clock: Clock, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let access = Access::new(&config.access, config.settings.queue_capacity, clock)?;
        Ok(Self(Arc::new(Inner {
            uplink: Uplink::new(clock),
            waiting_bytes: WaitingBytes::new(config.limits.waiting_bytes),
            token_sizes: Arc::new(TokenSizeEstimator::assume(config.link.bytes_per_token)),
            config,
            clock,
            metrics,
            started_unix_s: unix_s(),
            models: ModelRegistry::default(),
            prompt_pool: PromptPool::start().context("starting the threads that tokenize prompts")?,
            request_names: RequestNames::default(),
            access,
            batches: batches::Batches::new(),
            is_draining: AtomicBool::new(false),
        })))
    }

    /// Adds a loaded model: from now on its requests are served.
    pub(crate) fn register(&self, served: ServedModel) {
        self.0.metrics.name_model(&served.name);
        self.0.models.register(served);
    }

    /// Shows what the catalogue says about the served model. Does nothing until it is loaded.
    pub fn show_catalogue(&self, catalogue: &Catalogue) {
        let Some(served) = self.0.models.loaded() else { return };
        if let Some(entry) = catalogue.entry_of(served.node.model().info()) {
            // It is shown once, at the start.
            let _ = served.catalogue.set(entry.clone());
        }
    }

    /// Reads the keys file again; returns the number of keys, `None` where there is no file.
    ///
    /// # Errors
    ///
    /// When it is invalid; then the keys in force remain.
    pub fn reload_keys(&self) -> anyhow::Result<Option<usize>> {
        self.0.access.reload()
    }

    /// Stops admitting new requests.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
        self.0.batches.wake_runner();
    }

    /// The served model; an error until it is loaded, during a shutdown, and when its node has failed.
    fn served(&self) -> Result<&ServedModel, ApiError> {
        let loaded = self.loaded();
        if let Some(reason) = loaded.as_ref().ok().and_then(|served| served.node.failure()) {
            return Err(ApiError::node_failed(&reason));
        }
        if self.0.is_draining.load(Ordering::Relaxed) {
            return Err(ApiError::shutting_down());
        }
        loaded
    }

    /// The served model, also during a shutdown; an error until it is loaded.
    fn loaded(&self) -> Result<&ServedModel, ApiError> {
        self.0.models.loaded().ok_or_else(ApiError::loading)
    }

    /// Refuses all but operators.
    fn refuse_but_operators(&self, connection: &Connection, headers: &HeaderMap) -> Result<(), ApiError> {
        let is_local = connection.peer().ip().to_canonical().is_loopback();
        if self.0.access.is_operator(headers, is_local) { Ok(()) } else { Err(ApiError::operators_only()) }
    }

    /// The node that runs the model, also during a shutdown; `None` until it is loaded.
    pub fn node(&self) -> Option<&Node> {
        self.0.models.loaded().map(|served| &served.node)
    }
}

/// Every endpoint: path, method and handler.
pub(crate) fn router(app: App, origins: OriginRules) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/models", get(info::models))
        .route("/models", get(info::models))
        .route("/v1/models/{id}", get(info::model))
        .route("/health", get(info::health))
        .route("/v1/health", get(info::health))
        .route("/livez", get(info::alive))
        .route("/readyz", get(info::health))
        .route("/version", get(info::version))
        .route("/metrics", get(info::metrics))
        .route("/debug/requests/{id}", get(explain::handle))
        .route("/v1/hedgerow/state", get(state::handle))
        .route("/v1/hedgerow/events", get(events::handle))
        .merge(batches::routes(app.clone()))
        .fallback(info::no_such_path)
        .method_not_allowed_fallback(info::wrong_method)
        .layer(middleware::from_fn_with_state(origins, origin::guard))
        .layer(middleware::from_fn_with_state(app.clone(), request_line::begin))
        .layer(middleware::from_fn(unpace))
        .with_state(app)
}

/// Resets the pacing rate: a keep-alive connection may still have the rate of the previous answer.
async fn unpace(ConnectInfo(connection): ConnectInfo<Connection>, request: Request, next: Next) -> Response {
    connection.unpace();
    next.run(request).await
}

pub(crate) fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
