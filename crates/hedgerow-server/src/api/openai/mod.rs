//! The OpenAI protocol: chat completions and text completions.
//!
//! - `wire.rs`: bodies as clients write them
//! - `options.rs`: their options, checked, for a `GenerationRequest`
//! - `encoder.rs`: the objects of the response

mod chat;
mod completions;
mod encoder;
mod options;
mod wire;

use axum::response::Response;
use hedgerow_core::units::Tokens;
use hedgerow_node::token_size::Form;

use super::generation::{self, GenerationRequest};
use super::intake::Intake;
use super::prompt::Prompt;
use super::{ApiError, App, respond};
use encoder::{Encoder, Kind};
use wire::CompletionBody;

pub(super) use chat::handle as chat;
pub(super) use completions::handle as completions;

/// Generates the completion of a prompt and responds once the request is admitted or refused.
async fn complete(
    app: &App,
    intake: Intake<'_, CompletionBody>,
    prompt: Prompt,
    kind: Kind,
) -> Result<Response, ApiError> {
    let (served, id) = (intake.served, intake.id);
    let asked = request(app, &intake, prompt)?;
    let (form, wants_usage) = (asked.form, intake.body.wants_usage());
    intake.log.note(|facts| facts.streamed = Some(form == Form::Streamed));
    let generation = generation::generate(app, intake, asked).await?;
    let encoder = Encoder::new(kind, id, served, wants_usage);
    respond::respond(generation, encoder, form).await
}

/// Checks the fields of a body and makes them a neutral request.
fn request(
    app: &App,
    intake: &Intake<'_, CompletionBody>,
    prompt: Prompt,
) -> Result<GenerationRequest, ApiError> {
    let (config, fields) = (&app.0.config, &intake.body);
    if let Some(n) = fields.n.filter(|&n| n != 1) {
        return Err(ApiError::bad_value("n", n, "1 is the only number of answers supported"));
    }
    let slo = fields.hedgerow.as_ref().copied().unwrap_or_default();
    Ok(GenerationRequest {
        model: fields.model.clone(),
        prompt,
        max_output: options::max_output(fields)?,
        expected_output: fields.expected_output().map(Tokens),
        sampling: options::sampling(fields, &config.sampling)?,
        stop: options::stops(fields, &config.limits)?,
        ignore_eos: fields.ignore_eos.unwrap_or(false),
        cache_prompt: fields.cache_prompt.unwrap_or(true),
        requirements: intake.requirements.with(
            &slo,
            &intake.caller,
            config.default_deadline,
            intake.arrived,
        )?,
        form: if fields.stream.unwrap_or(false) { Form::Streamed } else { Form::Whole },
    })
}
