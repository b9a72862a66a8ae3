//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hedgerow_node::chat_template::Message;
use hedgerow_node::request_log::RequestLog;

use super::encoder::Kind;
use super::wire::{self, CompletionBody, ResponseFormat, WireMessage};
use crate::api::prompt::Prompt;
use crate::api::{ApiError, App, intake};
use crate::link::Connection;

/// Handles a chat completion.
pub(in crate::api) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Extension(log): Extension<Arc<RequestLog>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut intake = intake::take_in(&app, connection, log, &headers, body, CompletionBody::parse).await?;
    let body = &mut intake.body;
    wire::refuse_unsupported(&[
        ("tools", &body.tools),
        ("functions", &body.functions),
        ("logprobs", &body.logprobs),
        ("top_logprobs", &body.top_logprobs),
        ("logit_bias", &body.logit_bias),
        ("audio", &body.audio),
        ("grammar", &body.grammar),
        ("json_schema", &body.json_schema),
    ])?;
    refuse_response_format(body.response_format.as_ref())?;
    let messages = body.messages.take().ok_or_else(|| wire::missing("messages"))?;
    let prompt = Prompt::Chat(texts(messages)?);
    super::complete(&app, intake, prompt, Kind::Chat).await
}

fn texts(messages: Vec<WireMessage>) -> Result<Vec<Message>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::bad("empty_messages", "`messages` is empty", "send at least one message")
            .at("messages"));
    }
    messages.into_iter().enumerate().map(|(index, message)| text_of(index, message)).collect()
}

fn text_of(index: usize, WireMessage { role, content }: WireMessage) -> Result<Message, ApiError> {
    match content.unsupported {
        None => Ok(Message { role, content: content.text }),
        Some(kind) => {
            let said = format!("a content part of type `{kind}` is not supported");
            let place = format!("messages[{index}].content");
            Err(ApiError::bad("unsupported_content", said, "send text only").at(place))
        }
    }
}

fn refuse_response_format(format: Option<&ResponseFormat>) -> Result<(), ApiError> {
    match format.and_then(|format| format.r#type.as_deref()) {
        None | Some("text") => Ok(()),
        Some(other) => Err(ApiError::bad(
            "unsupported_parameter",
            format!("`response_format` of type `{other}` is not supported"),
            "leave `response_format` out",
        )
        .at("response_format")),
    }
}
