//! The bodies of both kinds of completion, as clients write them. Unknown fields are ignored, as OpenAI does.
//!
//! A body is parsed straight into these types, which keep only what is used: whatever a client sends, they take no more
//! than a small multiple of its bytes.

use std::fmt;

use hedgerow_core::engine::TokenId;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::api::ApiError;
use crate::api::requirements::SloFields;

/// The most texts in a list of them: stop texts, or prompts.
const TEXTS_MAX: usize = 1024;

/// A body of either kind of completion.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CompletionBody {
    pub(super) messages: Option<Vec<WireMessage>>,
    pub(super) prompt: Option<WirePrompt>,
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
    pub(super) stop: Option<Texts>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) cache_prompt: Option<bool>,
    pub(super) n: Option<i64>,
    pub(super) hedgerow: Option<SloFields>,
    pub(super) nvext: Option<Nvext>,
    pub(super) response_format: Option<ResponseFormat>,
    // Fields that would change the meaning of the answer, and that are not supported.
    pub(super) tools: Asked,
    pub(super) functions: Asked,
    pub(super) logprobs: Asked,
    pub(super) top_logprobs: Asked,
    pub(super) logit_bias: Asked,
    pub(super) audio: Asked,
    pub(super) grammar: Asked,
    pub(super) json_schema: Asked,
    pub(super) suffix: Asked,
    pub(super) echo: Asked,
}

impl CompletionBody {
    /// Parses a body.
    ///
    /// # Errors
    ///
    /// When it is no JSON object, or a field has another type; the error names the field.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let no_json = |error: &serde_json::Error| {
            let message = format!("the body is not JSON: {error}");
            ApiError::bad("invalid_json", message, "send a JSON object")
        };
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
                Ok(_) => {
                    let message = "the body is JSON, but not an object";
                    ApiError::bad("invalid_json", message, "send a JSON object")
                }
                Err(error) => no_json(&error),
            });
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            if error.inner().classify() != Category::Data {
                return no_json(error.inner());
            }
            let path = error.path().to_string();
            let message = format!("`{path}`: {}", error.inner());
            ApiError::bad("invalid_type", message, format!("see the type of `{path}` in the OpenAI API"))
                .at(path)
        })?;
        json.end().map_err(|error| no_json(&error))?;
        Ok(body)
    }

    /// Whether a stream is to end with the token usage.
    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Expected output length in tokens: a hint, whereas `max_tokens` is a limit.
    pub(super) fn expected_output(&self) -> Option<u32> {
        self.nvext.as_ref()?.agent_hints.as_ref()?.osl.filter(|&tokens| tokens > 0)
    }
}

/// Refuses fields that would change the meaning of the answer, and that are not supported.
pub(super) fn refuse_unsupported(fields: &[(&'static str, &Asked)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, asked)| asked.0) {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!("`{field}` is not supported");
            Err(ApiError::bad("unsupported_parameter", message, format!("leave `{field}` out")).at(*field))
        }
    }
}

/// The error for a required field that is missing.
pub(super) fn missing(field: &str) -> ApiError {
    let hint = format!("see the type of `{field}` in the OpenAI API");
    ApiError::bad("invalid_type", format!("`{field}`: the field is missing"), hint).at(field)
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

/// The requested form of the answer's text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseFormat {
    pub(super) r#type: Option<String>,
}

/// A message of a chat.
#[derive(Debug, Deserialize)]
pub(super) struct WireMessage {
    pub(super) role: String,
    #[serde(default)]
    pub(super) content: Content,
}

/// The text of a message, or of its parts, each on a line.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) text: String,
    /// The type of the first part that is not a text.
    pub(super) unsupported: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfContent;
        impl<'de> Visitor<'de> for OfContent {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of parts")
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text: text.to_owned(), unsupported: None })
            }

            fn visit_string<E>(self, text: String) -> Result<Content, E> {
                Ok(Content { text, unsupported: None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                let mut is_first = true;
                while let Some(Part { r#type, text }) = parts.next_element()? {
                    match text.filter(|_| r#type == "text") {
                        Some(text) => {
                            if !is_first {
                                content.text.push('\n');
                            }
                            content.text.push_str(&text);
                            is_first = false;
                        }
                        None => {
                            content.unsupported.get_or_insert(r#type);
                        }
                    }
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(OfContent)
    }
}

/// One text, or several.
#[derive(Debug)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfTexts;
        impl<'de> Visitor<'de> for OfTexts {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Texts, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = texts.next_element()? {
                    if list.len() == TEXTS_MAX {
                        return Err(A::Error::custom(format!("a list has at most {TEXTS_MAX} texts")));
                    }
                    list.push(text);
                }
                Ok(Texts(list))
            }
        }
        deserializer.deserialize_any(OfTexts)
    }
}

/// A prompt to be continued: a text or tokens, or, as some clients send it, a list with one text.
#[derive(Debug)]
pub(super) enum WirePrompt {
    Texts(Vec<String>),
    Tokens(Vec<TokenId>),
}

impl<'de> Deserialize<'de> for WirePrompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfPrompt;
        impl<'de> Visitor<'de> for OfPrompt {
            type Value = WirePrompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list with one text, or a list of token numbers")
            }

            fn visit_str<E>(self, text: &str) -> Result<WirePrompt, E> {
                Ok(WirePrompt::Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<WirePrompt, A::Error> {
                let (mut texts, mut tokens) = (Vec::new(), Vec::new());
                while let Some(item) = items.next_element()? {
                    match item {
                        Item::Text(text) if tokens.is_empty() && texts.len() < TEXTS_MAX => texts.push(text),
                        Item::Token(token) if texts.is_empty() => tokens.push(TokenId(token)),
                        Item::Text(_) | Item::Token(_) => {
                            let message = format!("a prompt is tokens, or at most {TEXTS_MAX} texts");
                            return Err(A::Error::custom(message));
                        }
                    }
                }
                Ok(if texts.is_empty() { WirePrompt::Tokens(tokens) } else { WirePrompt::Texts(texts) })
            }
        }
        deserializer.deserialize_any(OfPrompt)
    }
}

/// An item of a prompt.
enum Item {
    Text(String),
    Token(i32),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfItem;
        impl Visitor<'_> for OfItem {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a token number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_owned()))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Item, E> {
                i32::try_from(number)
                    .map(Item::Token)
                    .map_err(|_| E::custom(format!("{number} is no token number")))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Item, E> {
                i32::try_from(number)
                    .map(Item::Token)
                    .map_err(|_| E::custom(format!("{number} is no token number")))
            }
        }
        deserializer.deserialize_any(OfItem)
    }
}

/// Whether a field asks for something: it is there, and neither null, false, zero nor empty.
#[derive(Debug, Default)]
pub(super) struct Asked(pub(super) bool);

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfAsked;
        impl<'de> Visitor<'de> for OfAsked {
            type Value = Asked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Asked, E> {
                Ok(Asked(false))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Asked, E> {
                Ok(Asked(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Asked, E> {
                Ok(Asked(value != 0))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Asked, E> {
                Ok(Asked(value != 0))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Asked, E> {
                Ok(Asked(value != 0.0))
            }

            fn visit_str<E>(self, _: &str) -> Result<Asked, E> {
                Ok(Asked(true))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Asked, A::Error> {
                let mut is_asked = false;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    is_asked = true;
                }
                Ok(Asked(is_asked))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Asked, A::Error> {
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Asked(true))
            }
        }
        deserializer.deserialize_any(OfAsked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &serde_json::Value) -> CompletionBody {
        CompletionBody::parse(body.to_string().as_bytes()).unwrap()
    }

    fn refused(body: &str) -> String {
        let error = CompletionBody::parse(body.as_bytes()).unwrap_err();
        let error = &error.body()["error"];
        format!(
            "{} {}: {}",
            error["code"].as_str().unwrap(),
            error["param"],
            error["message"].as_str().unwrap()
        )
    }

    #[test]
    fn texts_come_alone_in_lists_and_in_parts() {
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        let messages =
            json!([{ "role": "user", "content": parts }, { "role": "assistant", "content": null }]);
        let body = parse(&json!({ "messages": messages, "stop": "x", "prompt": ["p"] }));
        let messages = body.messages.unwrap();
        assert_eq!((messages[0].content.text.as_str(), messages[1].content.text.as_str()), ("a\nb", ""));
        assert_eq!(body.stop.unwrap().0, ["x"]);
        assert!(matches!(body.prompt, Some(WirePrompt::Texts(texts)) if texts == ["p"]));
        let body = parse(&json!({ "prompt": [1, 2], "stop": ["x", "y"] }));
        assert!(
            matches!(body.prompt, Some(WirePrompt::Tokens(tokens)) if tokens == [TokenId(1), TokenId(2)])
        );
        assert_eq!(body.stop.unwrap().0.len(), 2);
    }

    #[test]
    fn fields_that_ask_for_nothing_are_not_asked_for() {
        for nothing in [json!(null), json!(false), json!(0), json!([])] {
            assert!(!parse(&json!({ "tools": nothing })).tools.0, "{nothing}");
        }
        for something in [json!(true), json!(5), json!([1]), json!({}), json!("x"), json!(0.5)] {
            assert!(parse(&json!({ "tools": something })).tools.0, "{something}");
        }
    }

    #[test]
    fn a_wrong_body_is_refused_by_the_place_of_its_fault() {
        let faults = [
            "[]",
            "nonsense",
            "{\"model\": 5}",
            "{\"messages\": [{\"role\": \"user\"}, {\"content\": \"\"}]}",
            "{\"prompt\": [1, \"a\"]}",
            "{} {}",
            "{\"max_tokens\": ",
        ];
        let said = faults.map(refused);
        expect_test::expect![[r#"
            invalid_json null: the body is JSON, but not an object
            invalid_json null: the body is not JSON: expected ident at line 1 column 2
            invalid_type "model": `model`: invalid type: integer `5`, expected a string at line 1 column 11
            invalid_type "messages[1]": `messages[1]`: missing field `role` at line 1 column 47
            invalid_type "prompt": `prompt`: a prompt is tokens, or at most 1024 texts at line 1 column 19
            invalid_json null: the body is not JSON: trailing characters at line 1 column 4
            invalid_json null: the body is not JSON: EOF while parsing a value at line 1 column 15
        "#]]
        .assert_eq(&format!("{}\n", said.join("\n")));
    }

    #[test]
    fn an_unknown_field_takes_no_memory_however_large_it_is() {
        let body = format!("{{\"x\": [{}]}}", vec!["{\"\":0}"; 100_000].join(","));
        assert!(CompletionBody::parse(body.as_bytes()).is_ok());
        let deep = format!("{{\"x\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(CompletionBody::parse(deep.as_bytes()).is_ok(), "skipped without recursion");
    }
}
