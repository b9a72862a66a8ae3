//! The OpenAI-compatible HTTP API.
//!
//! Request path: [`intake`] stamps the arrival and reserves a queue slot before it reads the body; `chat` or
//! `completions` turns the body into a prompt; [`answer`] submits it to the node and returns the response, whole or
//! as a stream.

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
use hedgerow_node::clock::Clock;
use hedgerow_node::config::Config;
use hedgerow_node::kernels::Chosen;
use hedgerow_node::metrics::Metrics;
use hedgerow_node::node::Node;

use crate::link::{Connection, TokenSizeEstimator, Uplink};

pub use chat::tokens as chat_tokens;
pub(crate) use error::ApiError;
pub use template::{ChatTemplate, Message};

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
    serving: OnceLock<Serving>,
    is_draining: AtomicBool,
}

/// The state that exists once the model is loaded.
pub struct Serving {
    pub node: Node,
    /// The model name that clients use.
    pub name: String,
    /// The chat template, or the reason why there is none.
    pub template: Result<ChatTemplate, String>,
    /// The kernels chosen for each precision, with the reason.
    pub kernels: Vec<(String, Chosen)>,
}

impl App {
    /// Creates an application whose model is not loaded yet.
    pub fn new(config: Config, clock: Clock, metrics: Arc<Metrics>) -> Self {
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

    /// Starts to serve requests.
    pub(crate) fn is_ready(&self, serving: Serving) {
        assert!(self.0.serving.set(serving).is_ok(), "a server is made ready once");
    }

    /// Stops admitting new requests.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    /// The serving state; an error until the model is loaded and during a shutdown.
    pub fn serving(&self) -> Result<&Serving, ApiError> {
        if self.0.is_draining.load(Ordering::Relaxed) {
            return Err(ApiError::shutting_down());
        }
        self.0.serving.get().ok_or_else(ApiError::loading)
    }

    /// The serving state, also during a shutdown.
    pub fn node(&self) -> Option<&Node> {
        self.0.serving.get().map(|serving| &serving.node)
    }
}

/// Every endpoint: path, method and handler.
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

/// Resets the pacing rate: a keep-alive connection may still have the rate of the previous answer.
async fn unpace(ConnectInfo(connection): ConnectInfo<Connection>, request: Request, next: Next) -> Response {
    connection.unpace();
    next.run(request).await
}

pub(crate) fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
