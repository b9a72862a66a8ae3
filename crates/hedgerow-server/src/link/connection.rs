//! Connections that count the bytes sent and support a pacing rate.

use std::future::Future as _;
use std::io::{IoSlice, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hedgerow_core::units::BitsPerSecond;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::pacing::{self, UNLIMITED};

/// A handler's handle to the connection of its request.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The address of the other side.
    peer: SocketAddr,
    /// The requested pacing rate in bytes per second.
    wanted: Arc<AtomicU32>,
    is_in_process: bool,
}

impl Connection {
    /// The handle of an unpaced connection.
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self { peer, wanted: Arc::new(AtomicU32::new(UNLIMITED)), is_in_process: false }
    }

    /// The connection of a request that this process makes itself: nothing is sent, so nothing is paced.
    pub(crate) fn in_process() -> Self {
        Self { is_in_process: true, ..Self::new((Ipv4Addr::LOCALHOST, 0).into()) }
    }

    /// Whether the request is this process's own.
    pub(crate) fn is_in_process(&self) -> bool {
        self.is_in_process
    }

    /// The address of the other side.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Limits the rate of later writes.
    pub(crate) fn pace(&self, rate: BitsPerSecond) {
        // `as` saturates at `u32::MAX`, which means no limit. At 0 nothing would ever be sent.
        self.wanted.store(((rate.get() / 8.0).ceil() as u32).max(1), Ordering::Relaxed);
    }

    /// Removes the rate limit for later writes.
    pub(crate) fn unpace(&self) {
        self.wanted.store(UNLIMITED, Ordering::Relaxed);
    }
}

/// A connection as hyper sees it: an error once the other side has taken nothing for too long. It sets its socket's pacing rate itself, just before a write, so that no handler
/// holds a file descriptor that may have been reused for another connection.
pub(crate) struct Stream {
    socket: TcpStream,
    connection: Connection,
    paced_at: u32,
    sent_bytes: Counter,
    write_timeout: Duration,
    /// Set while a write waits for the other side.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// An accepted socket, whose sent bytes are counted in `sent_bytes`.
    pub(crate) fn new(
        socket: TcpStream,
        connection: Connection,
        write_timeout: Duration,
        sent_bytes: Counter,
    ) -> Self {
        Self { socket, connection, paced_at: UNLIMITED, sent_bytes, write_timeout, stalled: None }
    }

    /// The outcome of a write, or an error if the other side has taken nothing for the write timeout.
    fn written(&mut self, context: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.stalled = None;
                Poll::Ready(written.inspect(|&bytes| {
                    self.sent_bytes.inc_by(bytes as u64);
                }))
            }
            Poll::Pending => {
                let timeout = self.write_timeout;
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(stalled.as_mut().poll(context));
                Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn before_writing(&mut self) {
        let wanted = self.connection.wanted.load(Ordering::Relaxed);
        if wanted != self.paced_at {
            self.paced_at = wanted;
            pacing::set(&self.socket, wanted);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<Result<usize>> {
        self.before_writing();
        let written = Pin::new(&mut self.socket).poll_write(context, from);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.before_writing();
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, from);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Instant;

    use axum::Router;
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use hedgerow_node::metrics::Metrics;
    use tokio::net::TcpListener;

    use super::*;
    use crate::connections::Connections;

    const BODY_BYTES: usize = 512 * 1024;
    const A_MINUTE: Duration = Duration::from_secs(60);

    /// Serves `/paced` at 512 kbit/s and `/free` unpaced, with large bodies; returns the address and byte counter.
    async fn serve(write_timeout_s: f64) -> (SocketAddr, Counter, Connections) {
        let body = || vec![b'a'; BODY_BYTES];
        let paced = move |ConnectInfo(connection): ConnectInfo<Connection>| async move {
            connection.pace(BitsPerSecond::new(512e3));
            body()
        };
        let free = move |ConnectInfo(connection): ConnectInfo<Connection>| async move {
            connection.unpace();
            body()
        };
        let router = Router::new().route("/paced", get(paced)).route("/free", get(free));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new().connections();
        let mut limits = hedgerow_node::config::of_file(None).unwrap().limits;
        limits.write_timeout = hedgerow_core::time::Span::from_seconds(write_timeout_s);
        let sent = metrics.sent_bytes();
        (address, sent, Connections::accept(listener, router, &limits, metrics, None))
    }

    fn ask(stream: &mut std::net::TcpStream, path: &str) {
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    }

    /// Reads until the given number of bytes or the timeout is reached; returns the number of bytes read.
    fn read(stream: &mut std::net::TcpStream, bytes: usize, within: Duration) -> usize {
        let until = Instant::now() + within;
        let mut buffer = vec![0; 64 * 1024];
        let mut here = 0;
        while here < bytes {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).unwrap();
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => here += count,
                Ok(0) | Err(_) => break,
            }
        }
        here
    }

    #[test]
    fn a_paced_answer_comes_no_faster_than_its_rate_and_the_next_on_its_connection_at_once() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, sent, _connections) = runtime.block_on(serve(60.0));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // Linux does not pace the first ten packets of a connection, and here each holds 64 kB.
        for _ in 0..2 {
            ask(&mut stream, "/free");
            read(&mut stream, BODY_BYTES, A_MINUTE);
        }
        let began = Instant::now();
        ask(&mut stream, "/paced");
        // 64,000 bytes per second, in packets of about the same size.
        let soon = read(&mut stream, BODY_BYTES, Duration::from_secs(1));
        assert!(soon < BODY_BYTES / 2, "{soon} bytes in {:?}", began.elapsed());
        let rest = read(&mut stream, BODY_BYTES - soon, A_MINUTE);
        assert!(soon + rest >= BODY_BYTES, "{soon} and {rest} bytes");
        assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
        let began = Instant::now();
        ask(&mut stream, "/free");
        let free = read(&mut stream, BODY_BYTES, A_MINUTE);
        assert!(free >= BODY_BYTES && began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        // Received bytes may not be counted yet, because the counter is updated after the write.
        let until = Instant::now() + A_MINUTE;
        while sent.get() < 4 * BODY_BYTES as u64 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(sent.get() >= 4 * BODY_BYTES as u64, "{} bytes counted", sent.get());
    }

    #[test]
    fn a_reader_that_takes_nothing_is_cut_off() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, ..) = runtime.block_on(serve(0.1));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // More than the kernel holds for both sides.
        for _ in 0..100 {
            // The server may have cut the connection off already.
            let _ = write!(stream, "GET /free HTTP/1.1\r\nhost: test\r\n\r\n");
            std::thread::sleep(Duration::from_millis(5));
        }
        let bytes = read(&mut stream, usize::MAX, A_MINUTE);
        assert!(bytes < 100 * BODY_BYTES, "{bytes} bytes");
    }
}
