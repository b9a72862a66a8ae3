//! Accepts connections and serves HTTP on each, within the limits of what clients can take.
//!
//! - takes: a listening socket, the application, and the section `[limits]` of the configuration
//! - gives: each request to the application, with the [`Connection`] that it came on
//! - never: keeps a connection that is idle too long, or lets idle ones keep new ones out

mod descriptors;
mod slots;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hedgerow_node::config::LimitsConfig;
use hedgerow_node::metrics::ConnectionMetrics;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::link::{Connection, Stream};
use slots::{Slot, Slots};
pub(crate) use tls::Tls;

/// File descriptors that are not for connections: the model's files, the log, the recording, the state folder.
const SPARE_DESCRIPTORS: u64 = 64;

/// The pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The open connections of a listening socket.
pub(crate) struct Connections {
    closing: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<JoinSet<()>>,
}

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    app: Router,
    limits: Arc<LimitsConfig>,
    metrics: ConnectionMetrics,
    closing: watch::Receiver<bool>,
    tls: Option<Arc<Tls>>,
}

impl Connections {
    /// Starts to accept connections, with TLS if there is a certificate.
    pub(crate) fn accept(
        listener: TcpListener,
        app: Router,
        limits: &LimitsConfig,
        metrics: ConnectionMetrics,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        let (closing, is_closing) = watch::channel(false);
        let server = Shared { app, limits: Arc::new(limits.clone()), metrics, closing: is_closing, tls };
        Self { closing, accepting: tokio::spawn(accept(listener, server)) }
    }

    /// Accepts no more connections and ends the idle ones. The others may finish their request within `grace`, and are
    /// cut off then.
    pub(crate) async fn close(self, grace: Duration) {
        // Every receiver has gone with its connection.
        let _ = self.closing.send(true);
        let Ok(mut open) = self.accepting.await else { return };
        let all = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(connections = open.len(), "cut off: they did not end in time");
            open.abort_all();
        }
    }
}

async fn accept(listener: TcpListener, server: Shared) -> JoinSet<()> {
    let slots = Slots::new(connection_limit(&server.limits), server.limits.connections_per_peer);
    let mut closing = server.closing.clone();
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Finished tasks are taken out, or the set would grow for ever.
            Some(_) = open.join_next() => continue,
            _ = closing.changed() => return open,
        };
        match accepted {
            Ok((socket, peer)) => match slots.take(peer.ip()) {
                Ok(slot) => {
                    open.spawn(serve(socket, peer, slot, server.clone()));
                }
                Err(full) => server.metrics.refused(full.name()),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The configured limit, or what the process's file descriptors allow.
fn connection_limit(limits: &LimitsConfig) -> usize {
    let Some(descriptors) = descriptors::raise_limit() else { return limits.connections };
    let allowed = descriptors.saturating_sub(SPARE_DESCRIPTORS).max(8);
    if allowed >= limits.connections as u64 {
        return limits.connections;
    }
    tracing::warn!(
        descriptors,
        connections = allowed,
        "fewer connections than `limits.connections`: raise `ulimit -n`"
    );
    allowed as usize
}

/// Serves a connection until either side ends it.
async fn serve(socket: TcpStream, peer: SocketAddr, slot: Slot, server: Shared) {
    let _open = server.metrics.open();
    // A token is a small packet that must not be delayed by Nagle's algorithm.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let connection = Connection::new(peer);
    let write_timeout = Duration::from_nanos(server.limits.write_timeout.0);
    let stream = Stream::new(socket, connection.clone(), write_timeout, server.metrics.sent_bytes());
    let Some(tls) = &server.tls else { return serve_http(stream, &connection, &slot, &server).await };
    let handshake = tls.acceptor().accept(stream);
    let timeout = Duration::from_nanos(server.limits.header_timeout.0);
    tokio::select! {
        accepted = tokio::time::timeout(timeout, handshake) => match accepted {
            Ok(Ok(stream)) => serve_http(stream, &connection, &slot, &server).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS failed"),
            Err(_) => tracing::debug!(%peer, "no TLS in time"),
        },
        () = slot.evicted() => server.metrics.refused("evicted"),
    }
}

/// Serves HTTP on a stream.
async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: &Connection,
    slot: &Slot,
    server: &Shared,
) {
    let Shared { app, limits, metrics, closing, .. } = server;
    let mut closing = closing.clone();
    let service = service_fn(|request| answer(request, app, connection, slot));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_nanos(limits.header_timeout.0))
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let mut is_closing = *closing.borrow();
    if is_closing {
        serving.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            ended = &mut serving => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %connection.peer(), %error, "a connection broke");
                }
                return;
            }
            () = slot.evicted() => return metrics.refused("evicted"),
            changed = closing.changed(), if !is_closing => {
                is_closing = true;
                if changed.is_ok() {
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Passes a request to the application. The connection is busy until the response has been written.
async fn answer(
    mut request: Request<Incoming>,
    app: &Router,
    connection: &Connection,
    slot: &Slot,
) -> Result<Response, Infallible> {
    let busy = slot.busy();
    request.extensions_mut().insert(ConnectInfo(connection.clone()));
    let response = app.clone().oneshot(request.map(Body::new)).await?;
    if response.body().is_end_stream() {
        return Ok(response);
    }
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &busy;
            frame
        }))
    }))
}
