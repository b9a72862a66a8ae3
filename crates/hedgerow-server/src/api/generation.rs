//! Generation without a protocol: a checked request, the node's answer to it, and the events until its end.

use std::sync::Arc;

use hedgerow_core::engine::{EndReason, GenerationTask, Sampling};
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::request::{Length, Request};
use hedgerow_core::units::Tokens;
use hedgerow_node::node::{RequestHandle, Update};
use hedgerow_node::token_size::{Form, TokenSizeEstimator};

use super::intake::Intake;
use super::paced_response::PacedResponse;
use super::prompt::Prompt;
use super::registry::ServedModel;
use super::requirements::Requirements;
use super::{ApiError, App};
use crate::access::Caller;
use crate::link::Connection;

/// What a protocol asks for, in no protocol's terms. Its values are checked, but for what depends on the prompt's
/// length.
#[derive(Debug)]
pub(super) struct GenerationRequest {
    /// The requested model name; `None` allows any.
    pub(super) model: Option<String>,
    pub(super) prompt: Prompt,
    /// Maximum output length; `None`: the server's default.
    pub(super) max_output: Option<Tokens>,
    /// How long the answer is expected to be: a hint, whereas `max_output` is a limit.
    pub(super) expected_output: Option<Tokens>,
    pub(super) sampling: Sampling,
    /// Texts before which the answer ends.
    pub(super) stop: Vec<String>,
    /// Whether the answer goes on after the model's end token.
    pub(super) ignore_eos: bool,
    /// Whether cached prefixes may be used, and this prompt be retained.
    pub(super) cache_prompt: bool,
    pub(super) requirements: Requirements,
    /// Whether the answer is streamed or sent as a whole.
    pub(super) form: Form,
}

/// An admitted request. Dropping it before its end cancels the request.
pub(super) struct Generation {
    handle: RequestHandle,
    caller: Caller,
    form: Form,
    token_sizes: Arc<TokenSizeEstimator>,
}

/// What happens to an admitted request.
#[derive(Debug)]
pub(super) enum GenerationEvent {
    /// More text of the answer.
    Text(String),
    /// The answer is complete, or as far as it came.
    End(GenerationEnd),
    /// There is no answer.
    Failed(ApiError),
}

/// The end of an answer.
#[derive(Debug)]
pub(super) struct GenerationEnd {
    pub(super) reason: FinishReason,
    pub(super) record: Box<Record>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishReason {
    /// The model ended it, or a stop text.
    Stop,
    /// It has the maximum output length.
    Length,
    /// The deadline passed.
    Deadline,
    /// The server shuts down.
    Shutdown,
}

/// Tokenizes the prompt, submits the request to the node, and waits until it is admitted and starts, so that a refusal
/// is an error status and not a broken stream.
///
/// # Errors
///
/// When the request cannot be served, or is refused.
pub(super) async fn generate<T>(
    app: &App,
    intake: Intake<'_, T>,
    asked: GenerationRequest,
) -> Result<Generation, ApiError> {
    let Intake { served, caller, connection, log, id, arrived, place, held, .. } = intake;
    let precision = served.precision_of(asked.model.as_deref())?;
    let time = asked.requirements.client_deadline.map(|deadline| deadline.since(arrived));
    log.note(|facts| facts.deadline = time);
    caller.check(&served.name, time)?;
    let prompt = app.0.prompt_pool.tokenize(app, asked.prompt).await?;
    let prompt_len = Tokens(prompt.len() as u32);
    log.note(|facts| facts.prompt_tokens = Some(prompt_len.0));
    let max_output = max_output(app, served, asked.max_output, prompt_len)?;
    let length = match (asked.ignore_eos, asked.expected_output) {
        (true, _) => Length::Exact,
        (false, Some(tokens)) => Length::Hinted(tokens),
        (false, None) => Length::Limited,
    };
    let Requirements { client_deadline, ttft, tpot, min_quality, value } = asked.requirements;
    let paced = PacedResponse::new(app, served, asked.form, (prompt_len, max_output), time, tpot);
    let request = Request {
        length,
        // By the client's deadline the answer must have been sent, so its last token must come earlier.
        deadline: match &paced {
            Some(paced) => paced.time_for_tokens().map(|time| arrived + time),
            None => client_deadline,
        },
        ttft,
        tpot,
        min_quality,
        precision,
        value,
        link: paced.as_ref().map(PacedResponse::link),
        tenant: caller.tenant(),
        ..Request::new(id, arrived, prompt_len, max_output)
    };
    let task = GenerationTask {
        prompt_tokens: prompt,
        max_output,
        sampling: asked.sampling,
        stop: asked.stop,
        ignore_eos: asked.ignore_eos,
        cache_prompt: asked.cache_prompt,
    };
    let mut handle = served.node.submit(request, task, place, log);
    drop(held);
    if let Err(error) = wait_for_start(&mut handle, &connection, paced).await {
        return Err(served.node.failure().map_or(error, |reason| ApiError::node_failed(&reason)));
    }
    caller.charge(prompt_len);
    Ok(Generation { handle, caller, form: asked.form, token_sizes: Arc::clone(&app.0.token_sizes) })
}

/// The maximum output length: the requested one, else the default, else what fits the context.
fn max_output(
    app: &App,
    served: &ServedModel,
    asked: Option<Tokens>,
    prompt_len: Tokens,
) -> Result<Tokens, ApiError> {
    let context = served.node.limits().context;
    let room = context.saturating_sub(prompt_len);
    if room == Tokens::ZERO {
        let message =
            format!("the prompt of {prompt_len} leaves no room for an answer in the context of {context}");
        let hint = format!("shorten the prompt to less than {context}");
        return Err(ApiError::bad("context_length_exceeded", message, hint));
    }
    Ok(asked.unwrap_or_else(|| app.0.config.sampling.max_tokens.unwrap_or(room).min(room)))
}

async fn wait_for_start(
    handle: &mut RequestHandle,
    connection: &Connection,
    paced: Option<PacedResponse>,
) -> Result<(), ApiError> {
    match handle.next().await {
        Some(Update::Started { rate }) => {
            rate.into_iter().for_each(|rate| connection.pace(rate));
            Ok(())
        }
        Some(Update::Ended(record)) => {
            let of_link = paced.and_then(|paced| paced.refusal(&record));
            Err(of_link.unwrap_or_else(|| refusal(&record)))
        }
        Some(Update::Token(_)) => Err(ApiError::internal("a token came before the request had started")),
        None => Err(ApiError::shutting_down()),
    }
}

impl Generation {
    /// The next event; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<GenerationEvent> {
        while !self.handle.has_ended() {
            return Some(match self.handle.next().await {
                Some(Update::Started { .. }) => continue,
                Some(Update::Token(text)) => {
                    self.caller.charge(Tokens(1));
                    if text.is_empty() {
                        continue;
                    }
                    GenerationEvent::Text(text)
                }
                Some(Update::Ended(record)) => match finish_reason(&record.outcome) {
                    Some(reason) => GenerationEvent::End(GenerationEnd { reason, record }),
                    None => GenerationEvent::Failed(refusal(&record)),
                },
                None => GenerationEvent::Failed(ApiError::internal(
                    "the node ended before the answer was complete",
                )),
            });
        }
        None
    }

    /// Notes how many bytes the answer's tokens took on the connection, for the estimates of later answers.
    pub(super) fn note_bytes(&self, bytes: usize, end: &GenerationEnd) {
        self.token_sizes.note(self.form, bytes, end.record.produced);
    }
}

/// Why an answer ended; `None` if there is none. A missed deadline is never [`FinishReason::Length`].
fn finish_reason(outcome: &Outcome) -> Option<FinishReason> {
    match outcome {
        Outcome::Met(EndReason::Stop | EndReason::StopText)
        | Outcome::Late(EndReason::Stop | EndReason::StopText) => Some(FinishReason::Stop),
        Outcome::Met(EndReason::Length) | Outcome::Late(EndReason::Length) => Some(FinishReason::Length),
        Outcome::Expired => Some(FinishReason::Deadline),
        Outcome::ShutDown => Some(FinishReason::Shutdown),
        Outcome::Rejected(_) | Outcome::Cancelled | Outcome::Failed(_) => None,
    }
}

/// The error of a request that produced no answer.
fn refusal(record: &Record) -> ApiError {
    match &record.outcome {
        Outcome::Rejected(rejection) => ApiError::from(rejection),
        Outcome::Failed(error) => ApiError::internal(error.to_string()),
        Outcome::Cancelled => ApiError::internal("the request was cancelled"),
        Outcome::Met(_) | Outcome::Late(_) | Outcome::Expired | Outcome::ShutDown => {
            ApiError::internal("the request ended before it had started")
        }
    }
}
