//! Submits a prompt to the node and returns the response, whole or as a stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use hedgerow_core::engine::{EndReason, GenerationTask, TokenId};
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_core::request::{Length, Request};
use hedgerow_core::units::Tokens;
use hedgerow_node::node::{RequestHandle, Update};
use serde_json::{Value, json};

use super::body::{self, CommonBody};
use super::intake::Intake;
use super::paced_response::PacedResponse;
use super::requirements::Requirements;
use super::{ApiError, App, Serving, sampling, unix_s};
use crate::link::{Connection, Form, TokenSizeEstimator};

/// Overhead bytes per event: `data: `, two line ends, and the HTTP chunk's size and line ends.
const AROUND_EVENT_BYTES: usize = 14;

/// The API of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

/// Submits a prompt to the node and responds once the request is admitted or refused.
pub(super) async fn answer(
    app: &App,
    intake: Intake<'_>,
    prompt: Vec<TokenId>,
    kind: Kind,
) -> Result<Response, ApiError> {
    let Intake { serving, connection, id, arrived, place, headers, body } = intake;
    let body: CommonBody = body::read(&body)?;
    let config = &app.0.config;
    let precision = precision_asked(serving, body.model.as_deref())?;
    if body.n.is_some_and(|n| n != 1) {
        return Err(ApiError::bad_value(
            "n",
            body.n.unwrap_or_default(),
            "1 is the only number of answers supported",
        ));
    }
    let demands = Requirements::read(&headers, body.hedgerow.as_ref(), config.default_deadline, arrived)?;
    let prompt_length = Tokens(prompt.len() as u32);
    let context = serving.node.limits().context;
    let max_output = sampling::max_output(&body, &config.sampling, prompt_length, context)?;
    let work = GenerationTask {
        prompt,
        max_output,
        sampling: sampling::sampling(&body, &config.sampling)?,
        stop: sampling::stops(&body)?,
        ignore_eos: body.ignore_eos.unwrap_or(false),
        cache_prompt: body.cache_prompt.unwrap_or(true),
    };
    let length = match (work.ignore_eos, body.expected_output()) {
        (true, _) => Length::Exact,
        (false, Some(tokens)) => Length::Hinted(Tokens(tokens)),
        (false, None) => Length::Limited,
    };
    let form = if body.stream.unwrap_or(false) { Form::Streamed } else { Form::Whole };
    let time = demands.deadline.map(|deadline| deadline.since(arrived));
    let sending = PacedResponse::new(app, serving, form, (prompt_length, max_output), time, demands.tpot);
    let request = Request {
        length,
        deadline: match &sending {
            Some(sending) => sending.time_for_tokens().map(|time| arrived + time),
            None => demands.deadline,
        },
        ttft: demands.ttft,
        tpot: demands.tpot,
        min_quality: demands.min_quality,
        precision,
        value: demands.value,
        link: sending.as_ref().map(PacedResponse::link),
        ..Request::new(id, arrived, prompt_length, max_output)
    };
    let mut story = ResponseStream {
        handle: serving.node.submit(request, work, place),
        words: ResponseEncoder::new(kind, id.0, serving),
        connection,
        sending,
        token_sizes: Arc::clone(&app.0.token_sizes),
        token_bytes: 0,
        has_begun: false,
        wants_usage: body.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false),
    };
    story.wait_for_promise().await?;
    let mut response = match form {
        Form::Streamed => story.stream().into_response(),
        Form::Whole => story.tell_whole().await?.into_response(),
    };
    let request_id = headers.get("x-request-id").cloned();
    let request_id = request_id.or_else(|| HeaderValue::from_str(&format!("req-{}", id.0)).ok());
    response.headers_mut().extend(request_id.map(|value| (HeaderName::from_static("x-request-id"), value)));
    Ok(response)
}

/// The precision pinned by the requested model name; `None` if the name allows any.
fn precision_asked(serving: &Serving, asked: Option<&str>) -> Result<Option<PrecisionIndex>, ApiError> {
    let names = serving.names();
    let Some(asked) = asked else { return Ok(None) };
    let place = names.iter().position(|name| name == asked);
    let place = place.ok_or_else(|| ApiError::no_such_model(asked, &names))?;
    // The plain model name is first, followed by one name per precision.
    Ok(place.checked_sub(1).map(PrecisionIndex))
}

/// A request's response stream. Dropping it before the end cancels the request.
struct ResponseStream {
    handle: RequestHandle,
    words: ResponseEncoder,
    connection: Connection,
    /// The pacing of the response, if the downlink is managed.
    sending: Option<PacedResponse>,
    token_sizes: Arc<TokenSizeEstimator>,
    /// Bytes of the tokens sent so far.
    token_bytes: usize,
    has_begun: bool,
    wants_usage: bool,
}

impl ResponseStream {
    /// Waits until the request starts, so that a refusal is an HTTP error status and not a broken stream.
    async fn wait_for_promise(&mut self) -> Result<(), ApiError> {
        match self.handle.next().await {
            Some(Update::Started { rate }) => {
                if let Some(rate) = rate {
                    self.connection.pace(rate);
                }
                Ok(())
            }
            Some(Update::Ended(record)) => {
                let of_sending = self.sending.and_then(|sending| sending.refusal(&record));
                Err(of_sending.unwrap_or_else(|| refusal(&record)))
            }
            Some(Update::Token(_)) => {
                Err(ApiError::internal("the engine spoke before the request had started"))
            }
            None => Err(ApiError::shutting_down()),
        }
    }

    async fn tell_whole(mut self) -> Result<Json<Value>, ApiError> {
        let mut text = String::new();
        loop {
            match self.handle.next().await {
                Some(Update::Started { .. }) => {}
                Some(Update::Token(more)) => text.push_str(&more),
                Some(Update::Ended(record)) => {
                    self.token_sizes.note(Form::Whole, text.len(), record.produced);
                    let reason = finish_reason(&record.outcome).ok_or_else(|| refusal(&record))?;
                    return Ok(Json(self.words.whole(&text, reason, &record)));
                }
                None => return Err(ApiError::internal("the node ended before the answer was complete")),
            }
        }
    }

    fn stream(self) -> impl IntoResponse {
        let headers = [("x-accel-buffering", "no"), ("cache-control", "no-cache")];
        (headers, Sse::new(self.events()).keep_alive(KeepAlive::default()))
    }

    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(Some((self, Vec::<String>::new())), |state| async move {
            let (mut story, mut ready) = state?;
            while ready.is_empty() {
                if story.handle.has_ended() {
                    return None;
                }
                story.more(&mut ready).await;
            }
            let event = Event::default().data(ready.remove(0));
            Some((Ok(event), Some((story, ready))))
        })
    }

    /// Waits for the next update and encodes it as events.
    async fn more(&mut self, events: &mut Vec<String>) {
        if !self.has_begun {
            self.has_begun = true;
            events.extend(self.words.beginning().map(|value| value.to_string()));
            return;
        }
        match self.handle.next().await {
            Some(Update::Started { .. }) => {}
            Some(Update::Token(text)) if text.is_empty() => {}
            Some(Update::Token(text)) => {
                let event = self.words.part(&text).to_string();
                self.token_bytes += event.len() + AROUND_EVENT_BYTES;
                events.push(event);
            }
            Some(Update::Ended(record)) => {
                self.token_sizes.note(Form::Streamed, self.token_bytes, record.produced);
                match finish_reason(&record.outcome) {
                    Some(reason) => events.push(self.words.end(reason).to_string()),
                    None => events.push(refusal(&record).body().to_string()),
                }
                if self.wants_usage {
                    events.push(self.words.usage_only(&record).to_string());
                }
                events.push("[DONE]".into());
            }
            None => {
                events.push(
                    ApiError::internal("the node ended before the answer was complete").body().to_string(),
                );
            }
        }
    }
}

/// The `finish_reason` of an answer, OpenAI's value where there is one. A missed deadline is never `length`.
fn finish_reason(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Met(EndReason::Stop) | Outcome::Late(EndReason::Stop) => Some("stop"),
        Outcome::Met(EndReason::Length) | Outcome::Late(EndReason::Length) => Some("length"),
        Outcome::Expired => Some("deadline"),
        Outcome::ShutDown => Some("shutdown"),
        Outcome::Rejected(_) | Outcome::Cancelled | Outcome::Failed(_) => None,
    }
}

/// The error of a request that produced no answer.
fn refusal(record: &Record) -> ApiError {
    match &record.outcome {
        Outcome::Rejected(rejection) => ApiError::from(rejection),
        Outcome::Failed(error) => ApiError::internal(error.to_string()),
        Outcome::Cancelled => ApiError::internal("the request was cancelled"),
        Outcome::Met(_) | Outcome::Late(_) | Outcome::Expired | Outcome::ShutDown => {
            ApiError::internal("the request ended before it had started")
        }
    }
}

/// Encodes the response objects of either API.
struct ResponseEncoder {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    /// The precisions' names.
    precisions: Vec<String>,
}

impl ResponseEncoder {
    fn new(kind: Kind, number: u64, serving: &Serving) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        let precisions = serving.node.precisions().iter().map(|precision| precision.name.clone()).collect();
        let id = format!("{prefix}-{number}");
        Self { kind, id, created: unix_s(), model: serving.name.clone(), precisions }
    }

    fn object(&self, is_stream: bool, choices: Value) -> Value {
        let object = match (self.kind, is_stream) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    fn whole(&self, text: &str, reason: &str, record: &Record) -> Value {
        let choice = match self.kind {
            Kind::Chat => json!({
                "index": 0, "message": { "role": "assistant", "content": text },
                "logprobs": null, "finish_reason": reason,
            }),
            Kind::Completion => {
                json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": reason })
            }
        };
        self.with_usage(self.object(false, json!([choice])), record)
    }

    /// Adds the token usage and the precision used.
    fn with_usage(&self, mut object: Value, record: &Record) -> Value {
        object["usage"] = usage(record);
        let precision = record.precision.and_then(|precision| self.precisions.get(precision.0));
        object["hedgerow"] = json!({ "precision": precision });
        object
    }

    /// The first object of a stream: for a chat, a delta with the assistant role.
    fn beginning(&self) -> Option<Value> {
        match self.kind {
            Kind::Chat => Some(self.delta(json!({ "role": "assistant", "content": "" }), None)),
            Kind::Completion => None,
        }
    }

    fn part(&self, text: &str) -> Value {
        match self.kind {
            Kind::Chat => self.delta(json!({ "content": text }), None),
            Kind::Completion => {
                let choice = json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": null });
                self.object(true, json!([choice]))
            }
        }
    }

    fn end(&self, reason: &str) -> Value {
        match self.kind {
            Kind::Chat => self.delta(json!({}), Some(reason)),
            Kind::Completion => {
                let choice = json!({ "index": 0, "text": "", "logprobs": null, "finish_reason": reason });
                self.object(true, json!([choice]))
            }
        }
    }

    fn delta(&self, delta: Value, reason: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason });
        self.object(true, json!([choice]))
    }

    fn usage_only(&self, record: &Record) -> Value {
        self.with_usage(self.object(true, json!([])), record)
    }
}

fn usage(record: &Record) -> Value {
    let (prompt, produced) = (record.request.prompt.0, record.produced.0);
    json!({
        "prompt_tokens": prompt, "completion_tokens": produced, "total_tokens": prompt + produced,
        "prompt_tokens_details": { "cached_tokens": record.cached.0 },
    })
}
