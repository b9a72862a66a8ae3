//! Server-sent events, as OpenAI's streams use them: one line of data each.

use serde::Deserialize;

/// Cuts bytes as they come into the data of events.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// How many of them have been read.
    read: usize,
}

impl Events {
    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event's data, once it is complete.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let begin = self.read;
            let length = self.bytes[begin..].iter().position(|&byte| byte == b'\n')?;
            self.read = begin + length + 1;
            // Comments and other fields are not for us.
            if self.bytes[begin..begin + length].starts_with(b"data:") {
                return Some(self.bytes[begin + b"data:".len()..begin + length].trim_ascii());
            }
        }
    }
}

/// A piece of an answer; what we do not read is left out.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    pub(super) usage: Option<Usage>,
    pub(super) error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    content: Option<String>,
    // What llama.cpp and older vLLM call a model's thoughts, and what newer vLLM calls them.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

/// Tokens as the server counts them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
}

impl Chunk {
    /// Whether it brings text.
    pub(super) fn has_text(&self) -> bool {
        self.choices.iter().filter_map(|choice| choice.delta.as_ref()).any(|delta| {
            let texts = [&delta.content, &delta.reasoning_content, &delta.reasoning];
            texts.into_iter().flatten().any(|text| !text.is_empty())
        })
    }

    /// Why the answer has ended, once it has.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.choices.iter().find_map(|choice| choice.finish_reason.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_they_were_cut() {
        let sent = b": hello\r\n\r\ndata: one\r\n\r\nevent: x\ndata:two\n\ndata: [DONE]\n\n";
        for size in 1..=sent.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for piece in sent.chunks(size) {
                events.push(piece);
                while let Some(data) = events.next() {
                    seen.push(String::from_utf8(data.to_vec()).unwrap());
                }
            }
            assert_eq!(seen, ["one", "two", "[DONE]"], "cut into pieces of {size}");
        }
    }

    #[test]
    fn text_is_text_whatever_it_is_called() {
        let has_text = |delta: &str| {
            let chunk = format!("{{\"choices\": [{{\"delta\": {delta}, \"finish_reason\": null}}]}}");
            serde_json::from_str::<Chunk>(&chunk).unwrap().has_text()
        };
        assert!(has_text("{\"content\": \"a\"}"));
        assert!(has_text("{\"content\": null, \"reasoning_content\": \"a\"}"));
        assert!(has_text("{\"reasoning\": \"a\"}"));
        assert!(!has_text("{\"role\": \"assistant\", \"content\": \"\"}"));
        assert!(!has_text("null"));
    }

    #[test]
    fn the_last_chunks_bring_a_reason_and_a_count() {
        let read = |text: &str| serde_json::from_str::<Chunk>(text).unwrap();
        let chunk = read("{\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"length\"}]}");
        assert_eq!(chunk.finish_reason(), Some("length"));
        let chunk = read(
            "{\"choices\": [], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 4, \"total_tokens\": 7}}",
        );
        assert_eq!(chunk.usage, Some(Usage { prompt_tokens: 3, completion_tokens: 4 }));
        assert_eq!(chunk.finish_reason(), None);
    }
}
