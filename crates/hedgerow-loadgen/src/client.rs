//! The client: sends one streaming chat completion over HTTP, on a connection of its own, as any client would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hedgerow_workload::hint::hinted;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::http::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::Request;
use super::outcome::{Ending, Heard};
use super::stream::{Chunk, Events};

/// The timeout for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes read of an error's text.
pub(super) const ERROR_BYTES_MAX: usize = 64 * 1024;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    /// The server as the user names it: `host:port`.
    authority: String,
    /// The prefix of `/v1` in every path.
    prefix: String,
    /// The value of `model` in requests, if the server needs it.
    model: Option<String>,
}

/// When the client stops reading an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) at: Instant,
    /// The ending to report then.
    pub(super) ending: &'static Ending,
}

impl Client {
    /// Returns a client of a server on this machine that has one model.
    pub fn of(address: SocketAddr) -> Self {
        Self { address, authority: address.to_string(), prefix: String::new(), model: None }
    }

    /// Connects to the server at a URL, once it has loaded its model; without a model's name, uses the first that the
    /// server lists. `notes` receives a line if it has to be waited for.
    ///
    /// # Errors
    ///
    /// When the URL is invalid, no server listens there, or no model's name can be found.
    pub async fn connect(url: &str, model: Option<&str>, notes: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let hint = "give the URL that clients use, such as http://127.0.0.1:8473";
        let uri: Uri = url.parse().map_err(|error| hinted(format!("`{url}` is not a URL: {error}"), hint))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(hinted(format!("`{url}` does not begin with http:// and a host"), hint));
        };
        let (host, port) = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
        let unreachable = |error: &dyn std::fmt::Display| {
            hinted(
                format!("cannot reach the server at {url}: {error}"),
                "start it first, and check the host and the port",
            )
        };
        let connected = timeout(PATIENCE, TcpStream::connect((host, port))).await;
        let stream = connected
            .map_err(|_| unreachable(&"it does not answer"))?
            .map_err(|error| unreachable(&error))?;
        let path = uri.path().trim_end_matches('/');
        let mut client = Self {
            address: stream.peer_addr().map_err(|error| unreachable(&error))?,
            authority: authority.to_string(),
            prefix: path.strip_suffix("/v1").unwrap_or(path).to_owned(),
            model: None,
        };
        let listed = client.first_model(notes).await;
        client.model = Some(match model {
            Some(model) => model.to_owned(),
            None => {
                listed.map_err(|error| hinted(format!("at {url}: {error:#}"), "name the model by --model"))?
            }
        });
        Ok(client)
    }

    /// `host:port`, as the user wrote it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The value of `model` in requests.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Sends a request, reads the answer to its end or until the time is up, and returns what was received.
    pub(super) async fn ask(&self, request: &Request, sent: Instant, until: Until) -> Heard {
        let mut heard = Heard {
            status: None,
            pieces: Vec::with_capacity(request.output_tokens.min(4096) as usize),
            after: Duration::ZERO,
            prompt_tokens: None,
            output_tokens: None,
            ending: until.ending.clone(),
        };
        // An exchange that has not ended when the time is up drops its connection, which cancels the request.
        let ended = timeout_at(until.at, self.talk(request, sent, &mut heard)).await;
        match ended {
            Ok(Ok(())) => {}
            // The answer had ended already, whatever happened to the connection then.
            _ if heard.ending != *until.ending => {}
            Ok(Err(error)) => {
                heard.ending = Ending::Failed(format!("{error:#}"));
                heard.after = sent.elapsed();
            }
            Err(_) => heard.after = sent.elapsed(),
        }
        heard
    }

    async fn talk(&self, request: &Request, sent: Instant, heard: &mut Heard) -> anyhow::Result<()> {
        let deadline_ms = request.deadline.map(|deadline| deadline.as_millis().to_string());
        let min_quality = request.min_quality.map(|quality| quality.to_string());
        let headers = [("x-slo-e2e-ms", deadline_ms), ("x-slo-min-quality", min_quality)];
        let mut connection = JoinSet::new();
        let body = self.body(request).to_string();
        let response =
            self.send(&mut connection, Method::POST, "/v1/chat/completions", &headers, body).await?;
        let status = response.status();
        heard.status = Some(status.as_u16());
        heard.after = sent.elapsed();
        match status {
            StatusCode::OK => listen(response.into_body(), sent, heard).await,
            StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE => {
                heard.ending = Ending::Refused;
                Ok(())
            }
            _ => {
                let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                bail!("HTTP {}: {}", status.as_u16(), error_text(&body))
            }
        }
    }

    fn body(&self, request: &Request) -> Value {
        let mut messages = Vec::new();
        if let Some(system) = &request.system {
            messages.push(json!({ "role": "system", "content": &**system }));
        }
        messages.push(json!({ "role": "user", "content": request.prompt }));
        let mut body = json!({
            "messages": messages, "max_tokens": request.output_tokens, "ignore_eos": true, "temperature": 0,
            "stream": true, "stream_options": { "include_usage": true },
        });
        if let Some(model) = &self.model {
            body["model"] = model.as_str().into();
        }
        body
    }

    /// Sends one HTTP request on a new connection, which lives in `connection` and ends when that is dropped.
    pub(super) async fn send(
        &self,
        connection: &mut JoinSet<()>,
        method: Method,
        path: &str,
        headers: &[(&str, Option<String>)],
        body: String,
    ) -> anyhow::Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.address).await.context("connecting")?;
        stream.set_nodelay(true).context("connecting")?;
        let (mut sender, open) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        connection.spawn(async move {
            // The sender reports the same error.
            let _ = open.await;
        });
        let mut request = hyper::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header("host", &self.authority)
            .header("content-type", "application/json");
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(*name, value);
            }
        }
        Ok(sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?)
    }
}

/// Reads an answer to its end and records the times of its pieces.
async fn listen(mut body: Incoming, sent: Instant, heard: &mut Heard) -> anyhow::Result<()> {
    let mut events = Events::default();
    let mut has_ended = false;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        events.push(&data);
        let now = sent.elapsed();
        while let Some(data) = events.next() {
            if data == b"[DONE]" {
                return if has_ended { Ok(()) } else { bail!("the answer ended without a reason") };
            }
            let chunk: Chunk = serde_json::from_slice(data).context("a piece of the answer")?;
            if let Some(error) = chunk.error {
                bail!("the server failed in mid-answer: {error}");
            }
            if chunk.has_text() {
                heard.pieces.push(now);
            }
            if let Some(usage) = chunk.usage {
                heard.prompt_tokens = Some(usage.prompt_tokens);
                heard.output_tokens = Some(usage.completion_tokens);
            }
            if let Some(reason) = chunk.finish_reason() {
                has_ended = true;
                heard.after = now;
                heard.ending = match reason {
                    "stop" | "length" => Ending::Complete,
                    "deadline" => Ending::Cut,
                    other => Ending::Failed(format!("the answer ended with finish_reason `{other}`")),
                };
            }
        }
    }
    if has_ended { Ok(()) } else { bail!("the stream ended early") }
}

/// Returns the message of an error's body: OpenAI's message, or else the beginning of the text.
pub(super) fn error_text(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json["error"]["message"].as_str());
    let text = String::from_utf8_lossy(body);
    message.unwrap_or(text.trim()).chars().take(200).collect()
}
