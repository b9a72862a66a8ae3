//! Prompts: a conversation, which the model's own chat template writes down, a text, or tokens.

use hedgerow_core::engine::TokenId;
use hedgerow_llama::LlamaModel;
use hedgerow_node::chat_template::{Message, TemplateError, chat_tokens};

use super::ApiError;
use super::registry::ServedModel;

/// A prompt before it is tokenized.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prompt {
    /// A conversation to be continued.
    Chat(Vec<Message>),
    /// A text to be continued.
    Text(String),
    /// Tokens to be continued.
    Tokens(Vec<TokenId>),
}

impl Prompt {
    /// Its size before it is tokenized.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => size_of_val(tokens.as_slice()),
        }
    }

    /// Refuses a prompt that has more tokens than the context, however it is tokenized: no token is longer than the
    /// vocabulary's longest, and a message has at least one.
    ///
    /// # Errors
    ///
    /// When it cannot fit the context.
    pub(super) fn refuse_beyond(&self, served: &ServedModel) -> Result<(), ApiError> {
        let context = served.node.limits().context;
        let longest = served.node.model().longest_token_bytes();
        let (count, what) = match self {
            Self::Chat(messages) if messages.len() > context.0 as usize => (messages.len(), "messages"),
            Self::Tokens(tokens) => (tokens.len(), "tokens"),
            Self::Chat(_) | Self::Text(_) => (self.bytes().div_ceil(longest), "tokens or more"),
        };
        if count <= context.0 as usize {
            return Ok(());
        }
        let message = format!("the prompt of {count} {what} does not fit the context of {context}");
        Err(ApiError::bad(
            "context_length_exceeded",
            message,
            format!("shorten the prompt to less than {context}"),
        ))
    }

    /// The tokens of this prompt for a model.
    ///
    /// # Errors
    ///
    /// When the model has no chat template, the template rejects the conversation, a token is unknown, or there is no
    /// token at all.
    pub(super) fn tokenize(self, served: &ServedModel) -> Result<Vec<TokenId>, ApiError> {
        let model = served.node.model();
        let tokens = match self {
            Self::Chat(messages) => {
                let template = served.template.as_ref().map_err(|reason| {
                    let message = format!("the model cannot chat: {reason}");
                    let hint = "use /v1/completions, or a model with a chat template";
                    ApiError::bad("no_chat_template", message, hint)
                })?;
                return Ok(chat_tokens(model, template, &messages)?);
            }
            Self::Text(text) => model.tokenize(&text, false, model.info().add_bos),
            Self::Tokens(tokens) => known(model, tokens)?,
        };
        if tokens.is_empty() {
            let error = ApiError::bad("empty_prompt", "`prompt` is empty", "send at least one token");
            return Err(error.at("prompt"));
        }
        Ok(tokens)
    }
}

fn known(model: &LlamaModel, tokens: Vec<TokenId>) -> Result<Vec<TokenId>, ApiError> {
    match tokens.iter().find(|&&token| !model.knows(token)) {
        None => Ok(tokens),
        Some(TokenId(number)) => {
            Err(ApiError::bad_value("prompt", format!("token {number}"), "the model has no such token"))
        }
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        Self::bad(error.code(), error.to_string(), error.hint()).at("messages")
    }
}
