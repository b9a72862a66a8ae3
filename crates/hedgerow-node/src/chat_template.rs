//! Chat templates: how a model wants a conversation written down (a Jinja program, rendered by minijinja).

use hedgerow_core::engine::TokenId;
use hedgerow_llama::{LlamaModel, ModelInfo};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its author: system, user or assistant.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// The chat template rejects a conversation, as many do for unknown or misplaced roles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's chat template refuses the messages: {reason}")]
pub struct TemplateError {
    reason: String,
}

impl TemplateError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        "check the messages' roles and their order"
    }

    /// Returns a stable name of the error.
    pub fn code(&self) -> &'static str {
        "invalid_messages"
    }
}

/// The tokens of a conversation, up to where the answer begins.
///
/// # Errors
///
/// When the chat template rejects the conversation.
pub fn chat_tokens(
    model: &LlamaModel,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<TokenId>, TemplateError> {
    let prompt = template.render(messages)?;
    // Most templates emit the beginning-of-text token themselves.
    let info = model.info();
    let has_bos = info.bos.as_deref().is_some_and(|bos| prompt.starts_with(bos));
    Ok(model.tokenize(&prompt, true, info.add_bos && !has_bos))
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles the model's own chat template.
    ///
    /// # Errors
    ///
    /// When the model has no template or an invalid one.
    pub fn of(info: &ModelInfo) -> Result<Self, String> {
        let source = info.chat_template.as_deref().ok_or("its file has no chat template")?;
        Self::new(source, info.bos.as_deref().unwrap_or(""), info.eos.as_deref().unwrap_or(""))
    }

    /// Compiles a template as Hugging Face's libraries do: with Python's string methods, and blocks that leave no
    /// blank lines.
    ///
    /// # Errors
    ///
    /// When the template is invalid; the error says why.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the delimiters are Jinja's own"));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// Renders a conversation, up to where the answer begins.
    ///
    /// # Errors
    ///
    /// When the template rejects the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).expect("it was added when it was compiled");
        let values = context! {
            messages => Serde(messages), add_generation_prompt => true, bos_token => self.bos.as_str(), eos_token => self.eos.as_str(),
        };
        template.render(values).map_err(|error| {
            let reason = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            TemplateError { reason }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'].strip() + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn writes_a_conversation_down_as_the_model_was_trained() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        let prompt = template.render(&[message("user", " Hi ")]).unwrap();
        assert_eq!(
            prompt,
            "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let source =
            "{% if messages[0].role != 'user' %}{{ raise_exception('must begin with user') }}{% endif %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let error = template.render(&[message("system", "x")]).unwrap_err();
        assert_eq!(error.to_string(), "the model's chat template refuses the messages: must begin with user");
    }

    #[test]
    fn a_template_that_is_none_is_an_error() {
        assert!(ChatTemplate::new("{% for %}", "", "").is_err());
    }
}
