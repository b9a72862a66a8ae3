//! The OpenAI-compatible HTTP API.
//!
//! A request's way: its arrival is stamped and its place in the queue reserved before its body is read
//! ([`intake`]); `chat` or `completions` turns the body into a prompt; [`answer`] hands it to the node and
//! tells its story back, whole or as a stream.

mod answer;
mod body;
mod chat;
mod completions;
mod error;
mod explain;
mod info;
mod intake;
mod paced_response;
mod requirements;
mod sampling;
mod template;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};

pub(crate) use chat::tokens as chat_tokens;
pub(crate) use error::ApiError;
pub(crate) use template::{ChatTemplate, Message};

use crate::clock::Clock;
use crate::config::Config;
use crate::kernels::Chosen;
use crate::link::{Connection, TokenSizeEstimator, Uplink};
use crate::metrics::Metrics;
use crate::serve::Node;

/// What every handler sees.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    uplink: Uplink,
    token_sizes: Arc<TokenSizeEstimator>,
    /// When the server started, in Unix seconds.
    started_unix_s: u64,
    serving: OnceLock<Serving>,
    is_draining: AtomicBool,
}

/// What exists once the model is loaded.
pub(crate) struct Serving {
    pub(crate) node: Node,
    /// What clients call the model.
    pub(crate) name: String,
    /// How conversations are written down for it; the reason if that is not possible.
    pub(crate) template: Result<ChatTemplate, String>,
    /// What computes each precision, and why.
    pub(crate) kernels: Vec<(String, Chosen)>,
}

impl App {
    /// An application that is still loading its model.
    pub(crate) fn new(config: Config, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            uplink: Uplink::new(clock),
            token_sizes: Arc::new(TokenSizeEstimator::assume(config.link.bytes_per_token)),
            config,
            clock,
            metrics,
            started_unix_s: unix_s(),
            serving: OnceLock::new(),
            is_draining: AtomicBool::new(false),
        }))
    }

    /// From here on requests are served.
    pub(crate) fn is_ready(&self, serving: Serving) {
        assert!(self.0.serving.set(serving).is_ok(), "a server is made ready once");
    }

    /// From here on nobody new is admitted.
    pub(crate) fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    /// What serves, once the model is loaded.
    pub(crate) fn serving(&self) -> Result<&Serving, ApiError> {
        if self.0.is_draining.load(Ordering::Relaxed) {
            return Err(ApiError::shutting_down());
        }
        self.0.serving.get().ok_or_else(ApiError::loading)
    }

    /// What serves, even during a shutdown.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.0.serving.get().map(|serving| &serving.node)
    }
}

/// Every route.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completions::handle))
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
        .fallback(info::no_such_path)
        .method_not_allowed_fallback(info::wrong_method)
        .layer(middleware::from_fn(unpace))
        .with_state(app)
}

/// A connection that is kept alive may still have the pace of the answer before; only answers have one.
async fn unpace(ConnectInfo(connection): ConnectInfo<Connection>, request: Request, next: Next) -> Response {
    connection.unpace();
    next.run(request).await
}

pub(crate) fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
