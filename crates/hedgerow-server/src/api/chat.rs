//! `/v1/chat/completions`.

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hedgerow_core::engine::TokenId;
use hedgerow_llama::LlamaModel;
use serde::Deserialize;

use super::answer::{self, Kind};
use super::template::{ChatTemplate, Message};
use super::{ApiError, App, body, intake};
use crate::link::Connection;

/// The chat's own fields.
#[derive(Debug, Deserialize)]
struct ChatBody {
    messages: Vec<WireMessage>,
}

#[derive(Debug, Deserialize)]
struct WireMessage {
    role: String,
    #[serde(default)]
    content: Content,
}

/// A text, or a list of parts that are texts.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Content {
    #[default]
    Nothing,
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

/// Unsupported fields that would change the meaning of the answer.
const UNSUPPORTED: [&str; 8] =
    ["tools", "functions", "logprobs", "top_logprobs", "logit_bias", "audio", "grammar", "json_schema"];

/// Handles a chat completion.
pub(super) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let intake = intake::take_in(&app, connection, headers, body).await?;
    body::refuse_unsupported(&intake.body, &UNSUPPORTED)?;
    refuse_response_format(&intake.body)?;
    let messages = messages(body::read(&intake.body)?)?;
    let template = intake.serving.template.as_ref().map_err(|reason| {
        let message = format!("the model cannot chat: {reason}");
        ApiError::bad("no_chat_template", message, "use /v1/completions, or a model with a chat template")
    })?;
    let tokens = tokens(intake.serving.node.model(), template, &messages)?;
    answer::answer(&app, intake, tokens, Kind::Chat).await
}

/// Renders a conversation as a tokenized prompt.
///
/// # Errors
///
/// When the chat template rejects the conversation.
pub fn tokens(
    model: &LlamaModel,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<TokenId>, ApiError> {
    let prompt = template.render(messages)?;
    // Most templates emit the beginning-of-text token themselves.
    let info = model.info();
    let has_bos = info.bos.as_deref().is_some_and(|bos| prompt.starts_with(bos));
    Ok(model.tokenize(&prompt, true, info.add_bos && !has_bos))
}

fn messages(body: ChatBody) -> Result<Vec<Message>, ApiError> {
    if body.messages.is_empty() {
        return Err(ApiError::bad("empty_messages", "`messages` is empty", "send at least one message")
            .at("messages"));
    }
    body.messages.into_iter().enumerate().map(|(index, message)| text_of(index, message)).collect()
}

fn text_of(index: usize, message: WireMessage) -> Result<Message, ApiError> {
    let content = match message.content {
        Content::Nothing => String::new(),
        Content::Text(text) => text,
        Content::Parts(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                let Some(text) = part.text.filter(|_| part.r#type == "text") else {
                    let said = format!("a content part of type `{}` is not supported", part.r#type);
                    let place = format!("messages[{index}].content");
                    return Err(ApiError::bad("unsupported_content", said, "send text only").at(place));
                };
                texts.push(text);
            }
            texts.join("\n")
        }
    };
    Ok(Message { role: message.role, content })
}

fn refuse_response_format(body: &serde_json::Value) -> Result<(), ApiError> {
    match body.pointer("/response_format/type").and_then(serde_json::Value::as_str) {
        None | Some("text") => Ok(()),
        Some(other) => Err(ApiError::bad(
            "unsupported_parameter",
            format!("`response_format` of type `{other}` is not supported"),
            "leave `response_format` out",
        )
        .at("response_format")),
    }
}
