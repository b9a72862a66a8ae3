//! `/v1/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hedgerow_node::request_log::RequestLog;

use super::encoder::Kind;
use super::wire::{self, CompletionBody, WirePrompt};
use crate::api::prompt::Prompt;
use crate::api::{ApiError, App, intake};
use crate::link::Connection;

/// Handles a text completion.
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
        ("suffix", &body.suffix),
        ("echo", &body.echo),
        ("logprobs", &body.logprobs),
        ("logit_bias", &body.logit_bias),
        ("grammar", &body.grammar),
        ("json_schema", &body.json_schema),
    ])?;
    let prompt = prompt(body.prompt.take().ok_or_else(|| wire::missing("prompt"))?)?;
    super::complete(&app, intake, prompt, Kind::Text).await
}

fn prompt(prompt: WirePrompt) -> Result<Prompt, ApiError> {
    match prompt {
        WirePrompt::Tokens(tokens) => Ok(Prompt::Tokens(tokens)),
        WirePrompt::Texts(mut texts) if texts.len() == 1 => Ok(Prompt::Text(texts.remove(0))),
        WirePrompt::Texts(texts) => {
            let limit = "one prompt a request is supported: send several requests, they are batched";
            Err(ApiError::bad_value("prompt", format!("a list of {} texts", texts.len()), limit))
        }
    }
}
