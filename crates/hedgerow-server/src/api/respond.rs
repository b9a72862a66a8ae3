//! Sends a generation to the client, whole or as server-sent events, in the objects of a protocol.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use hedgerow_node::token_size::Form;

use super::ApiError;
use super::generation::{Generation, GenerationEnd, GenerationEvent};

/// Overhead bytes per event: `data: `, two line ends, and the HTTP chunk's size and line ends.
const AROUND_EVENT_BYTES: usize = 14;

/// Encodes a response in the objects of a protocol, each as JSON.
pub(super) trait ResponseEncoder: Send + 'static {
    /// The whole response.
    fn whole(&self, text: &str, end: &GenerationEnd) -> String;
    /// The first event of a stream.
    fn begin(&self) -> Option<String>;
    /// An event with more text.
    fn text(&self, text: &str) -> String;
    /// The last events of a stream.
    fn end(&self, end: &GenerationEnd) -> Vec<String>;
    /// The last events of a stream that breaks off.
    fn failed(&self, error: &ApiError) -> Vec<String>;
}

/// Responds with a generation in its form.
///
/// # Errors
///
/// When a whole response has no answer.
pub(super) async fn respond(
    generation: Generation,
    encoder: impl ResponseEncoder,
    form: Form,
) -> Result<Response, ApiError> {
    match form {
        Form::Whole => whole(generation, &encoder).await,
        Form::Streamed => Ok(streamed(generation, encoder)),
    }
}

async fn whole(mut generation: Generation, encoder: &impl ResponseEncoder) -> Result<Response, ApiError> {
    let mut text = String::new();
    while let Some(event) = generation.next().await {
        match event {
            GenerationEvent::Text(more) => text.push_str(&more),
            GenerationEvent::End(end) => {
                generation.note_bytes(text.len(), &end);
                let headers = [(header::CONTENT_TYPE, "application/json")];
                return Ok((headers, Body::from(encoder.whole(&text, &end))).into_response());
            }
            GenerationEvent::Failed(error) => return Err(error),
        }
    }
    Err(ApiError::internal("the answer has no end"))
}

fn streamed(generation: Generation, encoder: impl ResponseEncoder) -> Response {
    let ready = encoder.begin().into_iter().collect();
    let stream = ResponseStream { generation, encoder, ready, text_bytes: 0 };
    let headers = [("x-accel-buffering", "no"), ("cache-control", "no-cache")];
    (headers, Sse::new(stream.events()).keep_alive(KeepAlive::default())).into_response()
}

/// A response that is being streamed. Dropping it before the end cancels the request.
struct ResponseStream<E> {
    generation: Generation,
    encoder: E,
    /// Events to send before the next one is waited for.
    ready: VecDeque<String>,
    /// Bytes of the events with text so far.
    text_bytes: usize,
}

impl<E: ResponseEncoder> ResponseStream<E> {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut stream| async move {
            if stream.ready.is_empty() {
                let event = stream.generation.next().await?;
                stream.encode(event);
            }
            let event = Event::default().data(stream.ready.pop_front()?);
            Some((Ok(event), stream))
        })
    }

    fn encode(&mut self, event: GenerationEvent) {
        match event {
            GenerationEvent::Text(text) => {
                let event = self.encoder.text(&text);
                self.text_bytes += event.len() + AROUND_EVENT_BYTES;
                self.ready.push_back(event);
            }
            GenerationEvent::End(end) => {
                self.generation.note_bytes(self.text_bytes, &end);
                self.ready.extend(self.encoder.end(&end));
            }
            GenerationEvent::Failed(error) => self.ready.extend(self.encoder.failed(&error)),
        }
    }
}
