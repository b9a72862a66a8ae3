//! `/v1/completions`.

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hedgerow_core::engine::TokenId;
use serde::Deserialize;

use super::encoder::Kind;
use super::wire;
use crate::api::prompt::Prompt;
use crate::api::{ApiError, App, intake};
use crate::link::Connection;

#[derive(Debug, Deserialize)]
struct CompletionBody {
    prompt: WirePrompt,
}

/// A text, or token ids; or a list of one text, as some clients send it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WirePrompt {
    Text(String),
    Tokens(Vec<i32>),
    Texts(Vec<String>),
}

/// Unsupported fields that would change the meaning of the answer.
const UNSUPPORTED: [&str; 6] = ["suffix", "echo", "logprobs", "logit_bias", "grammar", "json_schema"];

/// Handles a text completion.
pub(in crate::api) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let intake = intake::take_in(&app, connection, &headers, body).await?;
    wire::refuse_unsupported(&intake.body, &UNSUPPORTED)?;
    let prompt = prompt(wire::read::<CompletionBody>(&intake.body)?.prompt)?;
    super::complete(&app, intake, &headers, prompt, Kind::Text).await
}

fn prompt(prompt: WirePrompt) -> Result<Prompt, ApiError> {
    match prompt {
        WirePrompt::Tokens(numbers) => Ok(Prompt::Tokens(numbers.into_iter().map(TokenId).collect())),
        WirePrompt::Text(text) => Ok(Prompt::Text(text)),
        WirePrompt::Texts(mut texts) if texts.len() == 1 => Ok(Prompt::Text(texts.remove(0))),
        WirePrompt::Texts(texts) => {
            let limit = "one prompt a request is supported: send several requests, they are batched";
            Err(ApiError::bad_value("prompt", format!("a list of {} texts", texts.len()), limit))
        }
    }
}
