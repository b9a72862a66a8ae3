//! `/v1/chat/completions`.

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hedgerow_node::chat_template::Message;
use serde::Deserialize;

use super::encoder::Kind;
use super::wire;
use crate::api::prompt::Prompt;
use crate::api::{ApiError, App, intake};
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
pub(in crate::api) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let intake = intake::take_in(&app, connection, &headers, body).await?;
    wire::refuse_unsupported(&intake.body, &UNSUPPORTED)?;
    refuse_response_format(&intake.body)?;
    let prompt = Prompt::Chat(messages(wire::read(&intake.body)?)?);
    super::complete(&app, intake, &headers, prompt, Kind::Chat).await
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
