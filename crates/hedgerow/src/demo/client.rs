//! A client as others would write it: one streaming chat completion over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Arrival, Heard};

/// Asks one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            http: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector),
            address,
        }
    }

    /// Asks, waits for the end however late, and tells what was heard.
    pub(crate) async fn ask(&self, seed: usize, arrival: &Arrival) -> anyhow::Result<Heard> {
        let body = json!({
            "messages": [{ "role": "user", "content": arrival.question }],
            "max_tokens": arrival.class.output, "ignore_eos": true, "seed": seed, "stream": true,
        });
        let request = axum::http::Request::post(format!("http://{}/v1/chat/completions", self.address))
            .header("content-type", "application/json")
            .header("x-slo-e2e-ms", arrival.class.deadline.as_millis().to_string())
            .body(Full::new(Bytes::from(body.to_string())))?;
        let sent = Instant::now();
        let response = self.http.request(request).await?;
        let status = response.status();
        if status.is_client_error() {
            return Ok(Heard::Refused { status: status.as_u16(), after: sent.elapsed() });
        }
        if !status.is_success() {
            bail!("the server answered {status}");
        }
        read_stream(response.into_body(), sent).await
    }
}

/// Reads server-sent events up to `[DONE]`.
async fn read_stream(mut body: hyper::body::Incoming, sent: Instant) -> anyhow::Result<Heard> {
    let mut text = String::new();
    let mut first: Option<Duration> = None;
    let mut reason = None;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            text.push_str(std::str::from_utf8(&data).context("an event is not text")?);
        }
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let Some(data) = event.trim_end().strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                let reason = reason.context("the answer ended without a reason")?;
                return Ok(Heard::Answered {
                    first: first.unwrap_or_else(|| sent.elapsed()),
                    whole: sent.elapsed(),
                    reason,
                });
            }
            let event: Value = serde_json::from_str(data).context("an event is not JSON")?;
            if event.get("error").is_some() {
                bail!("the server failed in mid-stream: {event}");
            }
            let choice = &event["choices"][0];
            if choice["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()) {
                first.get_or_insert_with(|| sent.elapsed());
            }
            reason = choice["finish_reason"].as_str().map(str::to_owned).or(reason);
        }
    }
    bail!("the stream ended early")
}
