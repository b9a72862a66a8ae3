//! Keeps a server busy with clients that want nothing: bodies that trickle in, idle sockets, and readers that never read.
//! Prints how long `/health` takes meanwhile; measure the goodput of honest clients with `hedgerow bench serve`, with and
//! without this beside it.
//!
//! cargo run --release -p hedgerow-loadgen --example hostile_clients -- 127.0.0.1:8473 500 60
//!
//! The arguments: the server's address, how many clients of each kind, and for how many seconds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

const HEAD: &str =
    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
const BODY: &str = r#"{"messages":[{"role":"user","content":"Say hi."}],"max_tokens":16,"stream":true}"#;

/// The hostile clients come from another address of this machine than `/health`.
async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 2], 0).into())?;
    socket.connect(server).await
}

/// Announces a body of a megabyte and sends a byte of it a second.
async fn trickle(server: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(server).await?;
    stream.write_all(format!("{HEAD}content-length: 1000000\r\n\r\n{{").as_bytes()).await?;
    loop {
        stream.write_all(b" ").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Sends nothing.
async fn idle(server: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(server).await?;
    // Returns when the server closes the connection.
    stream.read_u8().await.map(drop)
}

/// Asks on and on, and reads nothing.
async fn never_read(server: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(server).await?;
    loop {
        let length = BODY.len();
        // With a deadline of a millisecond, so that its refusals fill the buffers and not the engine's time.
        let head = format!("{HEAD}x-slo-e2e-ms: 1\r\ncontent-length: {length}\r\n\r\n{BODY}");
        stream.write_all(head.as_bytes()).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn health(server: SocketAddr) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    anyhow::ensure!(response.starts_with("HTTP/1.1 200"), "{response}");
    Ok(began.elapsed())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().context("usage: hostile_clients ADDRESS CLIENTS SECONDS");
    let (server, clients, seconds): (SocketAddr, usize, u64) =
        (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let mut hostile = JoinSet::new();
    for _ in 0..clients {
        // Each comes again as soon as the server has closed its connection.
        hostile.spawn(async move { while trickle(server).await.is_err() {} });
        hostile.spawn(async move { while idle(server).await.is_err() {} });
        hostile.spawn(async move { while never_read(server).await.is_err() {} });
    }
    let (until, mut times) = (Instant::now() + Duration::from_secs(seconds), Vec::new());
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        times.push(health(server).await?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "/health, {} times: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}
