//! Conversion of token bytes to text that may be shown: whole characters, and no part of a stop text.

/// Assembles one answer's text from the bytes of its tokens.
///
/// A character may span tokens and a stop text may begin in one token and end in another, so text is held back until
/// it is final.
#[derive(Clone, Debug)]
pub struct TextStream {
    stop: Vec<String>,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    /// Whole characters held back because a stop text may be beginning.
    held: String,
    is_stopped: bool,
}

impl TextStream {
    /// A stream that ends before the first of `stop`; empty stop texts are ignored.
    pub fn new(stop: Vec<String>) -> Self {
        let stop = stop.into_iter().filter(|text| !text.is_empty()).collect();
        Self { stop, partial: Vec::new(), held: String::new(), is_stopped: false }
    }

    /// Whether a stop text has appeared.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Adds one token's bytes and returns the text that is now final.
    ///
    /// Bytes that can never become a character turn into U+FFFD, as in every other server.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.partial.extend_from_slice(bytes);
        self.held.push_str(&take_characters(&mut self.partial));
        if let Some(at) = self.stop.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.is_stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let uncertain = self.stop.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - uncertain);
        std::mem::replace(&mut self.held, rest)
    }

    /// The rest of the text, when no more tokens come.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        if !self.is_stopped && !std::mem::take(&mut self.partial).is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        text
    }
}

/// Removes all complete characters and invalid bytes from the front; leaves an incomplete character.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(std::str::from_utf8(&bytes[..valid]).expect("checked just above"));
                let Some(bad) = error.error_len() else {
                    bytes.drain(..valid);
                    return text;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..valid + bad);
            }
        }
    }
}

/// Length of the longest suffix of `text` that is a proper prefix of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    (1..stop.len().min(text.len() + 1))
        .rev()
        .find(|&length| stop.is_char_boundary(length) && text.ends_with(&stop[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stop: &[&str]) -> TextStream {
        TextStream::new(stop.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn holds_a_character_back_until_its_last_byte() {
        let mut text = stream(&[]);
        let bytes = "é🦔".as_bytes();
        let shown: Vec<_> = bytes.iter().map(|byte| text.push(&[*byte])).collect();
        assert_eq!(shown, ["", "é", "", "", "", "🦔"]);
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn shows_nothing_of_a_stop_text_that_spans_tokens() {
        let mut text = stream(&["END"]);
        let shown: Vec<_> =
            ["a E", "N", "Q E", "ND b"].iter().map(|part| text.push(part.as_bytes())).collect();
        assert_eq!(shown, ["a ", "", "ENQ ", ""]);
        assert!(text.is_stopped());
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn stops_at_the_earliest_of_several_stop_texts() {
        let mut text = stream(&["xyz", "b"]);
        assert_eq!(text.push(b"aabxyz"), "aa");
        assert!(text.is_stopped());
    }

    #[test]
    fn replaces_bytes_that_can_never_be_a_character() {
        let mut text = stream(&[]);
        assert_eq!(text.push(b"a\xffb\xe2"), "a\u{fffd}b");
        assert_eq!(text.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn cutting_the_bytes_anywhere_gives_the_same_text(whole in "\\PC{0,24}", stop in "[a-cé]{1,3}", cut in 1_usize..5) {
            let mut text = stream(&[&stop]);
            let mut shown = String::new();
            for part in whole.as_bytes().chunks(cut) {
                shown.push_str(&text.push(part));
            }
            shown.push_str(&text.finish());
            let expected = whole.find(&stop).map_or(whole.as_str(), |at| &whole[..at]);
            prop_assert_eq!(shown, expected);
        }
    }
}
