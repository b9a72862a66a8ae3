//! Chat templates: how a model wants a conversation written down (a Jinja program, rendered by minijinja).
//!
//! A template comes with a downloaded model and the messages from a caller, so neither is trusted: rendering is bounded in
//! time, memory and output, and the text of a control token in a message stays text.

use std::collections::BTreeSet;
use std::io::{self, Write};

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

/// A conversation cannot be made a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template rejects it, as many do for unknown or misplaced roles, or takes too long.
    #[error("the model's chat template refuses the messages: {reason}")]
    Refused {
        /// What the template says.
        reason: String,
    },
    /// A message has a role that no template knows.
    #[error("a message has the role `{role}`")]
    UnknownRole {
        /// The role.
        role: String,
    },
}

/// The roles of messages.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// The most work of rendering one conversation, in minijinja's units: instructions and bytes copied. A conversation that
/// fits a context of 100,000 tokens takes about a fifth of it; all of it takes about a second.
const FUEL: u64 = 8_000_000;

/// The longest source of a template; those of today's models have at most some tens of kilobytes.
const SOURCE_BYTES_MAX: usize = 128 << 10;
/// The stack of the thread that compiles a template: the compiler recurses for each operator of a chain, of which a
/// source of the most bytes may have one a byte. Only what is used takes memory.
const COMPILER_STACK_BYTES: usize = 256 << 20;

/// The longest prompt that a template may write.
const PROMPT_BYTES_MAX: usize = 16 << 20;

impl TemplateError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Refused { .. } => "check the messages' roles and their order".to_owned(),
            Self::UnknownRole { .. } => format!("use one of {}", ROLES.join(", ")),
        }
    }

    /// Returns a stable name of the error.
    pub fn code(&self) -> &'static str {
        "invalid_messages"
    }
}

/// The tokens of a conversation, up to where the answer begins. Control tokens are those of the template only: such a
/// token's text in a message stays text.
///
/// # Errors
///
/// When a role is unknown, or the chat template rejects the conversation.
pub fn chat_tokens(
    model: &LlamaModel,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<TokenId>, TemplateError> {
    if let Some(message) = messages.iter().find(|message| !ROLES.contains(&message.role.as_str())) {
        // A template may put a role between the marks of a control token.
        return Err(TemplateError::UnknownRole { role: message.role.chars().take(40).collect() });
    }
    let barrier = unused_character(messages);
    let escaped: Vec<Message> = messages
        .iter()
        .map(|Message { role, content }| Message {
            role: role.clone(),
            content: model.escape(content, barrier).into_owned(),
        })
        .collect();
    let prompt = template.render(&escaped)?;
    // Most templates emit the beginning-of-text token themselves.
    let info = model.info();
    let has_bos = info.bos.as_deref().is_some_and(|bos| prompt.starts_with(bos));
    Ok(model.tokenize_rendered(&prompt, barrier, info.add_bos && !has_bos))
}

/// A private-use character that no message has.
fn unused_character(messages: &[Message]) -> char {
    let used: BTreeSet<char> = messages
        .iter()
        .flat_map(|message| message.content.chars())
        .filter(|letter| ('\u{E000}'..='\u{F8FF}').contains(letter))
        .collect();
    let unused = ('\u{E000}'..='\u{F8FF}').find(|letter| !used.contains(letter));
    // Beyond the 6,400 of the first plane there are 131,000 more.
    unused.unwrap_or('\u{F0000}')
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
        if source.len() > SOURCE_BYTES_MAX {
            return Err(format!("it has {} bytes, more than {SOURCE_BYTES_MAX}", source.len()));
        }
        let environment = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("template".into()).stack_size(COMPILER_STACK_BYTES);
            let compiling =
                thread.spawn_scoped(scope, || compile(source)).map_err(|error| error.to_string())?;
            compiling.join().unwrap_or_else(|_| Err("compiling it failed".to_owned()))
        })?;
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
        let mut prompt = Bounded(Vec::new());
        template.render_captured_to(values, &mut prompt).map_err(|error| {
            let reason = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            TemplateError::Refused { reason }
        })?;
        Ok(String::from_utf8(prompt.0).expect("templates write text"))
    }
}

fn compile(source: &str) -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are Jinja's own"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template_owned(NAME, source.to_owned()).map_err(|error| error.to_string())?;
    Ok(environment)
}

/// A prompt that is being written, up to its limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PROMPT_BYTES_MAX {
            return Err(io::Error::other(format!("it writes more than {PROMPT_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    #[test]
    fn a_template_that_would_not_end_or_fills_the_memory_is_refused() {
        let bombs = [
            "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
            "{% set ns = namespace(text='x') %}{% for i in range(64) %}{% set ns.text = ns.text ~ ns.text %}{% endfor %}{{ ns.text }}",
            "{{ 'x' * 99999999 }}",
        ];
        for bomb in bombs {
            let rendered = ChatTemplate::new(bomb, "", "").unwrap().render(&[message("user", "Hi")]);
            assert!(matches!(rendered, Err(TemplateError::Refused { .. })), "{bomb}");
        }
    }

    #[test]
    fn an_expression_of_any_depth_is_compiled_or_refused() {
        for chain in [".a", "|trim", "~a", " and a", "**1", "()"] {
            let source = format!("{{{{ a{} }}}}", chain.repeat(12_000));
            // It overflowed the stack of a thread; what it means does not matter.
            let _ = ChatTemplate::new(&source, "", "").map(|template| template.render(&[]));
        }
        assert!(ChatTemplate::new(&"x".repeat(SOURCE_BYTES_MAX + 1), "", "").is_err());
    }

    #[test]
    fn the_barrier_is_in_no_message() {
        assert_eq!(unused_character(&[message("user", "Hi")]), '\u{E000}');
        assert_eq!(unused_character(&[message("user", "\u{E001}\u{E000}")]), '\u{E002}');
    }
}
