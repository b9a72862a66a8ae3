//! `/v1/completions`.

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hedgerow_core::engine::TokenId;
use serde::Deserialize;

use super::answer::{self, Kind};
use super::{ApiError, App, Serving, body, intake};
use crate::link::Connection;

#[derive(Debug, Deserialize)]
struct CompletionBody {
    prompt: Prompt,
}

/// A text, or token ids; or a list of one text, as some clients send it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<i32>),
    Texts(Vec<String>),
}

/// Unsupported fields that would change the meaning of the answer.
const UNSUPPORTED: [&str; 6] = ["suffix", "echo", "logprobs", "logit_bias", "grammar", "json_schema"];

/// Handles a text completion.
pub(super) async fn handle(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let intake = intake::take_in(&app, connection, headers, body).await?;
    body::refuse_unsupported(&intake.body, &UNSUPPORTED)?;
    let tokens = tokens(body::read::<CompletionBody>(&intake.body)?.prompt, intake.serving)?;
    answer::answer(&app, intake, tokens, Kind::Completion).await
}

fn tokens(prompt: Prompt, serving: &Serving) -> Result<Vec<TokenId>, ApiError> {
    let model = serving.node.model();
    let text = match prompt {
        Prompt::Tokens(numbers) => {
            let tokens: Vec<TokenId> = numbers.into_iter().map(TokenId).collect();
            if let Some(unknown) = tokens.iter().find(|&&token| !model.knows(token)) {
                return Err(ApiError::bad_value(
                    "prompt",
                    format!("token {}", unknown.0),
                    "the model has no such token",
                ));
            }
            return refuse_empty(tokens);
        }
        Prompt::Text(text) => text,
        Prompt::Texts(mut texts) if texts.len() == 1 => texts.remove(0),
        Prompt::Texts(texts) => {
            let limit = "one prompt a request is supported: send several requests, they are batched";
            return Err(ApiError::bad_value("prompt", format!("a list of {} texts", texts.len()), limit));
        }
    };
    refuse_empty(model.tokenize(&text, false, model.info().add_bos))
}

fn refuse_empty(tokens: Vec<TokenId>) -> Result<Vec<TokenId>, ApiError> {
    if tokens.is_empty() {
        return Err(
            ApiError::bad("empty_prompt", "`prompt` is empty", "send at least one token").at("prompt")
        );
    }
    Ok(tokens)
}
