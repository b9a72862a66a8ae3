//! How large answers are: what a token of output is on the wire, learnt from answers that were given.

use std::sync::{Mutex, PoisonError};

use hedgerow_core::allocator::Payload;
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bits, BitsPerSecond, Tokens};

/// Before the first token: the answer's head and, in a stream, who speaks.
const HEAD_BYTES: f64 = 640.0;
/// After the last token: why it ended, the usage, `[DONE]`.
const END_BYTES: f64 = 640.0;
/// A token of an answer that is sent whole is text alone; so much until measured.
const TEXT_BYTES: f64 = 8.0;
/// As many tokens as the assumed size counts for, before it is outweighed by measured ones.
const ASSUMED_TOKENS: f64 = 256.0;
/// What is left of an answer's weight after each later one.
const DECAY: f64 = 0.95;

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each token by itself, as a server-sent event.
    Streamed,
    /// In one piece when it is complete.
    Whole,
}

/// Mean bytes of a token in either form.
#[derive(Debug)]
pub(crate) struct TokenSizeEstimator {
    streamed: Mutex<Mean>,
    whole: Mutex<Mean>,
}

#[derive(Debug)]
struct Mean {
    bytes: f64,
    tokens: f64,
}

impl TokenSizeEstimator {
    /// Nothing measured yet: a streamed token is assumed to be this large.
    pub(crate) fn assume(streamed_bytes_per_token: f64) -> Self {
        let mean = |bytes| Mutex::new(Mean { bytes: bytes * ASSUMED_TOKENS, tokens: ASSUMED_TOKENS });
        Self { streamed: mean(streamed_bytes_per_token), whole: mean(TEXT_BYTES) }
    }

    /// Notes an answer: the bytes of its tokens, and how many those were.
    pub(crate) fn note(&self, form: Form, bytes: usize, tokens: Tokens) {
        let mut mean = self.mean(form).lock().unwrap_or_else(PoisonError::into_inner);
        mean.bytes = DECAY * mean.bytes + bytes as f64;
        mean.tokens = DECAY * mean.tokens + f64::from(tokens.0);
    }

    /// Mean bytes of a token.
    pub(crate) fn bytes_per_token(&self, form: Form) -> f64 {
        let mean = self.mean(form).lock().unwrap_or_else(PoisonError::into_inner);
        mean.bytes / mean.tokens
    }

    /// An answer of so many tokens, the last of which comes at least `decoding` after the first, and each at
    /// most `tpot` after the one before, if that was asked.
    pub(crate) fn payload(&self, form: Form, tokens: Tokens, decoding: Span, tpot: Option<Span>) -> Payload {
        let each = self.bytes_per_token(form);
        let bits = |bytes: f64| Bits::new(8.0 * bytes);
        let whole = bits(HEAD_BYTES + f64::from(tokens.0) * each + END_BYTES);
        match form {
            Form::Streamed => {
                let fluent = tpot.map_or(0.0, |tpot| bits(each).get() / tpot.as_seconds());
                let fluent = BitsPerSecond::new(fluent);
                Payload { whole, last: bits(each + END_BYTES), decoding, fluent }
            }
            Form::Whole => {
                Payload { whole, last: whole, decoding: Span::ZERO, fluent: BitsPerSecond::new(0.0) }
            }
        }
    }

    /// The longest answer in so much.
    pub(crate) fn tokens_in(&self, form: Form, room: Bits) -> Tokens {
        let for_tokens = room.get() / 8.0 - HEAD_BYTES - END_BYTES;
        // `as` turns what is negative into no tokens.
        Tokens((for_tokens / self.bytes_per_token(form)) as u32)
    }

    fn mean(&self, form: Form) -> &Mutex<Mean> {
        match form {
            Form::Streamed => &self.streamed,
            Form::Whole => &self.whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_answers_that_were_given_and_each_form_by_itself() {
        let sizes = TokenSizeEstimator::assume(250.0);
        assert_eq!(sizes.bytes_per_token(Form::Streamed), 250.0);
        (0..200).for_each(|_| sizes.note(Form::Streamed, 100 * 190, Tokens(100)));
        assert!((sizes.bytes_per_token(Form::Streamed) - 190.0).abs() < 0.1);
        assert_eq!(sizes.bytes_per_token(Form::Whole), TEXT_BYTES);
    }

    #[test]
    fn the_longest_answer_in_a_payload_is_the_one_it_was_made_for() {
        let sizes = TokenSizeEstimator::assume(250.0);
        for form in [Form::Streamed, Form::Whole] {
            let payload = sizes.payload(form, Tokens(100), Span::from_millis(7), None);
            assert_eq!(sizes.tokens_in(form, payload.whole), Tokens(100));
        }
        assert_eq!(sizes.tokens_in(Form::Streamed, Bits::new(8.0)), Tokens(0));
    }
}
