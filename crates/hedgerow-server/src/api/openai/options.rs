//! The options of a completion as the neutral request has them: sampling parameters, output limit, stop texts.

use hedgerow_core::engine::Sampling;
use hedgerow_core::units::Tokens;
use hedgerow_node::config::{LimitsConfig, SamplingDefaults};

use super::wire::CompletionBody;
use crate::api::ApiError;

/// Reads a request's sampling parameters.
pub(super) fn sampling(body: &CompletionBody, defaults: &SamplingDefaults) -> Result<Sampling, ApiError> {
    let number = |param, value: Option<f64>, default: f32, least: f64, most: f64| match value {
        None => Ok(default),
        Some(value) if (least..=most).contains(&value) => Ok(value as f32),
        Some(value) => Err(ApiError::bad_value(param, value, &format!("it must be from {least} to {most}"))),
    };
    let whole = |param, value: Option<i64>, default: u32| match value {
        None => Ok(default),
        Some(value) => u32::try_from(value)
            .ok()
            .filter(|&value| value <= 1 << 30)
            .ok_or_else(|| ApiError::bad_value(param, value, "it must be from 0 to 1073741824")),
    };
    Ok(Sampling {
        temperature: number("temperature", body.temperature, defaults.temperature, 0.0, 100.0)?,
        top_k: whole("top_k", body.top_k, defaults.top_k)?,
        top_p: number("top_p", body.top_p, defaults.top_p, 0.0, 1.0)?,
        min_p: number("min_p", body.min_p, defaults.min_p, 0.0, 1.0)?,
        repeat_penalty: number("repeat_penalty", body.repeat_penalty, defaults.repeat_penalty, 0.01, 100.0)?,
        frequency_penalty: number(
            "frequency_penalty",
            body.frequency_penalty,
            defaults.frequency_penalty,
            -2.0,
            2.0,
        )?,
        presence_penalty: number(
            "presence_penalty",
            body.presence_penalty,
            defaults.presence_penalty,
            -2.0,
            2.0,
        )?,
        penalty_window: whole("repeat_last_n", body.repeat_last_n, defaults.penalty_window)?,
        // Any integer is accepted as a seed; its low 32 bits are used.
        seed: body.seed.map_or_else(rand::random, |seed| seed as u32),
    })
}

/// Reads the requested maximum output length.
pub(super) fn max_output(body: &CompletionBody) -> Result<Option<Tokens>, ApiError> {
    let (param, asked) = match (body.max_completion_tokens, body.max_tokens) {
        (Some(asked), _) => ("max_completion_tokens", asked),
        (None, Some(asked)) => ("max_tokens", asked),
        (None, None) => return Ok(None),
    };
    let tokens = u32::try_from(asked).ok().filter(|asked| (1..=1 << 30).contains(asked));
    let wrong = || ApiError::bad_value(param, asked, "an answer has from 1 to 1073741824 tokens");
    tokens.map(|tokens| Some(Tokens(tokens))).ok_or_else(wrong)
}

/// Reads the stop sequences.
pub(super) fn stops(body: &CompletionBody, limits: &LimitsConfig) -> Result<Vec<String>, ApiError> {
    let texts = body.stop.as_ref().map_or(&[][..], |stop| &stop.0);
    if texts.len() > limits.stop_texts {
        let limit = format!("{} is the most", limits.stop_texts);
        return Err(ApiError::bad_value("stop", format!("{} texts", texts.len()), &limit));
    }
    match texts.iter().find(|text| text.len() > limits.stop_text_bytes) {
        None => Ok(texts.to_vec()),
        Some(text) => {
            let limit = format!("{} is the most", limits.stop_text_bytes);
            Err(ApiError::bad_value("stop", format!("a text of {} bytes", text.len()), &limit))
        }
    }
}
