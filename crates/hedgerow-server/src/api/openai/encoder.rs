//! The response objects of the OpenAI protocol.

use hedgerow_core::output::Record;
use hedgerow_core::request::RequestId;
use serde::Serialize;

use crate::api::generation::{FinishReason, GenerationEnd};
use crate::api::registry::ServedModel;
use crate::api::respond::ResponseEncoder;
use crate::api::{ApiError, unix_s};

/// The kind of completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Text,
}

/// Encodes the responses of either kind.
pub(super) struct Encoder {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    /// The names of the precisions.
    precisions: Vec<String>,
    /// Whether a stream ends with the token usage.
    wants_usage: bool,
}

/// A response, or an event of one.
#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    summary: Option<Summary<'a>>,
}

/// The only choice of a response.
#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    content: Content<'a>,
    /// Always null: log-probabilities are not supported.
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

/// A choice's text, in the form of its kind.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Content<'a> {
    Message(Message<'a>),
    Delta(Message<'a>),
    Text(&'a str),
}

/// A message, or what is added to one.
#[derive(Default, Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// What is known at the end: the token usage and the precision.
#[derive(Serialize)]
struct Summary<'a> {
    usage: Usage,
    hedgerow: Extension<'a>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

/// Hedgerow's own part of a response.
#[derive(Serialize)]
struct Extension<'a> {
    /// The precision used.
    precision: Option<&'a str>,
}

impl Encoder {
    pub(super) fn new(kind: Kind, request: RequestId, served: &ServedModel, wants_usage: bool) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Text => "cmpl",
        };
        Self {
            kind,
            id: format!("{prefix}-{}", request.0),
            created: unix_s(),
            model: served.name.clone(),
            precisions: served.node.precisions().iter().map(|precision| precision.name.clone()).collect(),
            wants_usage,
        }
    }

    fn json(&self, object: &'static str, choices: Vec<Choice<'_>>, summary: Option<Summary<'_>>) -> String {
        let Self { id, created, model, .. } = self;
        let completion = Completion { id, object, created: *created, model, choices, summary };
        serde_json::to_string(&completion).expect("texts and numbers are JSON")
    }

    fn event(&self, choices: Vec<Choice<'_>>, summary: Option<Summary<'_>>) -> String {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        };
        self.json(object, choices, summary)
    }

    fn summary(&self, record: &Record) -> Summary<'_> {
        let (prompt_tokens, completion_tokens) = (record.request.prompt_len.0, record.produced.0);
        let usage = Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens: record.cached.0 },
        };
        let precision = record.precision.and_then(|precision| self.precisions.get(precision.0));
        Summary { usage, hedgerow: Extension { precision: precision.map(String::as_str) } }
    }
}

fn choice<'a>(content: Content<'a>, finish: Option<FinishReason>) -> Vec<Choice<'a>> {
    let finish_reason = finish.map(|reason| match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        // OpenAI has no value for these.
        FinishReason::Deadline => "deadline",
        FinishReason::Shutdown => "shutdown",
    });
    vec![Choice { index: 0, content, logprobs: None, finish_reason }]
}

const ROLE: Option<&str> = Some("assistant");
const DONE: &str = "[DONE]";

impl ResponseEncoder for Encoder {
    fn whole(&self, text: &str, end: &GenerationEnd) -> String {
        let (object, content) = match self.kind {
            Kind::Chat => ("chat.completion", Content::Message(Message { role: ROLE, content: Some(text) })),
            Kind::Text => ("text_completion", Content::Text(text)),
        };
        self.json(object, choice(content, Some(end.reason)), Some(self.summary(&end.record)))
    }

    /// For a chat, a delta with the role.
    fn begin(&self) -> Option<String> {
        let delta = Content::Delta(Message { role: ROLE, content: Some("") });
        (self.kind == Kind::Chat).then(|| self.event(choice(delta, None), None))
    }

    fn text(&self, text: &str) -> String {
        let content = match self.kind {
            Kind::Chat => Content::Delta(Message { role: None, content: Some(text) }),
            Kind::Text => Content::Text(text),
        };
        self.event(choice(content, None), None)
    }

    fn end(&self, end: &GenerationEnd) -> Vec<String> {
        let content = match self.kind {
            Kind::Chat => Content::Delta(Message::default()),
            Kind::Text => Content::Text(""),
        };
        let last = self.event(choice(content, Some(end.reason)), None);
        let usage = self.wants_usage.then(|| self.event(Vec::new(), Some(self.summary(&end.record))));
        std::iter::once(last).chain(usage).chain([DONE.to_owned()]).collect()
    }

    fn failed(&self, error: &ApiError) -> Vec<String> {
        vec![error.body().to_string(), DONE.to_owned()]
    }
}
