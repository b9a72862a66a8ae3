//! Parses server-sent events as OpenAI's streams use them, with one line of data each.

use serde::Deserialize;

/// Splits arriving bytes into the data of events.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// How many of them have been read.
    read: usize,
}

impl Events {
    /// Adds arrived bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next event's data, once it is complete.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let begin = self.read;
            let length = self.bytes[begin..].iter().position(|&byte| byte == b'\n')?;
            self.read = begin + length + 1;
            // Comments and other fields are ignored.
            if self.bytes[begin..begin + length].starts_with(b"data:") {
                return Some(self.bytes[begin + b"data:".len()..begin + length].trim_ascii());
            }
        }
    }
}

/// A piece of an answer, with the fields that are used.
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
    // The reasoning text in llama.cpp and older vLLM, and in newer vLLM.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

/// The server's token counts.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
}

impl Chunk {
    /// Whether it contains text.
    pub(super) fn has_text(&self) -> bool {
        self.choices.iter().filter_map(|choice| choice.delta.as_ref()).any(|delta| {
            let texts = [&delta.content, &delta.reasoning_content, &delta.reasoning];
            texts.into_iter().flatten().any(|text| !text.is_empty())
        })
    }

    /// Returns the finish reason, once the answer has ended.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.choices.iter().find_map(|choice| choice.finish_reason.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_reassembled_however_the_bytes_are_split() {
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
    fn text_is_recognized_in_every_field() {
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
    fn the_last_chunks_have_a_finish_reason_and_token_counts() {
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
