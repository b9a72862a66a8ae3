//! The fields that chat and plain completions share. Unknown fields are ignored, as OpenAI does.

use serde::Deserialize;
use serde_json::Value;

use crate::api::ApiError;
use crate::api::requirements::SloFields;

/// The fields of both kinds of completion.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CommonFields {
    pub(super) model: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_tokens: Option<i64>,
    pub(super) max_completion_tokens: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) top_p: Option<f64>,
    pub(super) min_p: Option<f64>,
    #[serde(alias = "repetition_penalty")]
    pub(super) repeat_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) repeat_last_n: Option<i64>,
    pub(super) seed: Option<i64>,
    pub(super) stop: Option<Stop>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) cache_prompt: Option<bool>,
    pub(super) n: Option<i64>,
    pub(super) hedgerow: Option<SloFields>,
    pub(super) nvext: Option<Nvext>,
}

impl CommonFields {
    /// Whether a stream is to end with the token usage.
    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Expected output length in tokens: a hint, whereas `max_tokens` is a limit.
    pub(super) fn expected_output(&self) -> Option<u32> {
        self.nvext.as_ref()?.agent_hints.as_ref()?.osl.filter(|&tokens| tokens > 0)
    }
}

/// NVIDIA Dynamo's extensions, as far as they are supported.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Nvext {
    pub(super) agent_hints: Option<AgentHints>,
}

/// An agent's hints about its request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AgentHints {
    /// Expected output sequence length, in tokens.
    pub(super) osl: Option<u32>,
}

/// Options of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

/// One stop sequence or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Stop {
    One(String),
    Several(Vec<String>),
}

impl Stop {
    pub(super) fn into_texts(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }
}

/// Deserializes a subset of a body's fields; a wrong type is an error that names the field.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string();
        let message = format!("`{path}`: {}", error.inner());
        ApiError::bad("invalid_type", message, format!("see the type of `{path}` in the OpenAI API")).at(path)
    })
}

/// Refuses fields that would change the meaning of the answer and that this server does not support.
pub(super) fn refuse_unsupported(body: &Value, fields: &[&str]) -> Result<(), ApiError> {
    let is_asked_for = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) | Value::String(_) | Value::Object(_) => true,
    };
    match fields.iter().find(|field| body.get(field).is_some_and(is_asked_for)) {
        None => Ok(()),
        Some(field) => {
            let message = format!("`{field}` is not supported");
            Err(ApiError::bad("unsupported_parameter", message, format!("leave `{field}` out")).at(*field))
        }
    }
}
