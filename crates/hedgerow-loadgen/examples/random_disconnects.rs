//! Sends requests of which half are streamed, and hangs up on half of them at a random moment. Each of the others must be
//! answered whole or by an error. Prints the outcomes of each round; compare the server's memory between rounds, and its
//! metrics (running, waiting, KV tokens, downlink share) after the last one: all zero.
//!
//! cargo run --release -p hedgerow-loadgen --example random_disconnects -- 127.0.0.1:8473 10000 20 3
//!
//! The arguments: the server's address, requests, requests per second, and rounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Sends one request; returns how it ended.
async fn one(server: SocketAddr, mut random: ChaCha8Rng) -> String {
    let stream = random.random_bool(0.5);
    let words = "hedge ".repeat(random.random_range(1..200));
    let (deadline_ms, tokens) = (random.random_range(500..20_000), random.random_range(1..60));
    let body = format!(
        r#"{{"prompt":"{words}","max_tokens":{tokens},"stream":{stream},"hedgerow":{{"deadline_ms":{deadline_ms}}}}}"#
    );
    let hang_up = random.random_bool(0.5).then(|| Duration::from_millis(random.random_range(0..5_000)));
    let exchange = async {
        let mut socket = TcpStream::connect(server).await?;
        let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        let length = body.len();
        socket.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await?;
        let mut response = String::new();
        socket.read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response)
    };
    let outcome = match hang_up {
        Some(after) => tokio::time::timeout(after, exchange).await,
        None => Ok(exchange.await),
    };
    match outcome {
        Err(_) => "hung up".to_owned(),
        Ok(Err(error)) => format!("BROKEN: {error}"),
        Ok(Ok(response)) => {
            let status = response.split(' ').nth(1).unwrap_or("none").to_owned();
            let is_whole = match (status.as_str(), stream) {
                ("200", true) => response.contains("data: [DONE]"),
                ("200", false) => response.contains("\"finish_reason\":\"") && response.ends_with('}'),
                _ => response.contains("\"error\""),
            };
            if is_whole { status } else { format!("BROKEN: {status}, {} bytes", response.len()) }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().context("usage: random_disconnects ADDRESS REQUESTS RATE ROUNDS");
    let (server, requests, rate, rounds): (SocketAddr, u64, f64, u64) =
        (next()?.parse()?, next()?.parse()?, next()?.parse()?, next()?.parse()?);
    for round in 0..rounds {
        let mut open = JoinSet::new();
        for number in 0..requests / rounds {
            let random = ChaCha8Rng::seed_from_u64(round << 32 | number);
            open.spawn(one(server, random));
            tokio::time::sleep(Duration::from_secs_f64(1.0 / rate)).await;
        }
        let mut outcomes = BTreeMap::<String, u64>::new();
        while let Some(outcome) = open.join_next().await {
            *outcomes.entry(outcome?).or_default() += 1;
        }
        println!("round {}: {outcomes:?}", round + 1);
        let broken = outcomes.keys().find(|outcome| outcome.starts_with("BROKEN"));
        anyhow::ensure!(broken.is_none(), "an answer was neither whole nor an error");
    }
    Ok(())
}
