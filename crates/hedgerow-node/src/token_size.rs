//! Estimates answer sizes: the mean bytes per output token on the wire, measured on completed answers.

use std::sync::{Mutex, PoisonError};

use hedgerow_core::allocator::Payload;
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bits, BitsPerSecond, Tokens};

/// Bytes before the first token: the HTTP head and, in a stream, the chunk with the role.
const HEAD_BYTES: f64 = 640.0;
/// Bytes after the last token: the finish reason, the usage, `[DONE]`.
const END_BYTES: f64 = 640.0;
/// Assumed bytes per token of an answer sent whole, which is plain text, until measured.
const TEXT_BYTES: f64 = 8.0;
/// Weight of the assumed size, in tokens, against measured sizes.
const ASSUMED_TOKENS: f64 = 256.0;
/// Exponential smoothing: factor on the weight of all earlier answers at each new answer.
const DECAY: f64 = 0.95;

/// The form in which an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One server-sent event per token.
    Streamed,
    /// One response when the answer is complete.
    Whole,
}

/// Estimates the mean bytes per token in either form.
#[derive(Debug)]
pub struct TokenSizeEstimator {
    streamed: Mutex<Mean>,
    whole: Mutex<Mean>,
}

#[derive(Debug)]
struct Mean {
    bytes: f64,
    tokens: f64,
}

impl TokenSizeEstimator {
    /// Creates an estimator without measurements that assumes this size of a streamed token.
    pub fn assume(streamed_bytes_per_token: f64) -> Self {
        let mean = |bytes| Mutex::new(Mean { bytes: bytes * ASSUMED_TOKENS, tokens: ASSUMED_TOKENS });
        Self { streamed: mean(streamed_bytes_per_token), whole: mean(TEXT_BYTES) }
    }

    /// Records an answer: the bytes and the number of its tokens.
    pub fn note(&self, form: Form, bytes: usize, tokens: Tokens) {
        let mut mean = self.mean(form).lock().unwrap_or_else(PoisonError::into_inner);
        mean.bytes = DECAY * mean.bytes + bytes as f64;
        mean.tokens = DECAY * mean.tokens + f64::from(tokens.0);
    }

    /// Mean bytes per token.
    pub fn bytes_per_token(&self, form: Form) -> f64 {
        let mean = self.mean(form).lock().unwrap_or_else(PoisonError::into_inner);
        mean.bytes / mean.tokens
    }

    /// The payload of an answer of `tokens` tokens whose last token is produced at least `decoding` after the first.
    /// `tpot` is the TPOT target, if the request has one.
    pub fn payload(&self, form: Form, tokens: Tokens, decoding: Span, tpot: Option<Span>) -> Payload {
        let each = self.bytes_per_token(form);
        let bits = |bytes: f64| Bits::new(8.0 * bytes);
        let whole = bits(HEAD_BYTES + f64::from(tokens.0) * each + END_BYTES);
        match form {
            Form::Streamed => {
                let tpot_rate = tpot.map_or(0.0, |tpot| bits(each).get() / tpot.as_seconds());
                let tpot_rate = BitsPerSecond::new(tpot_rate);
                Payload { whole, last: bits(each + END_BYTES), decoding, tpot_rate }
            }
            Form::Whole => {
                Payload { whole, last: whole, decoding: Span::ZERO, tpot_rate: BitsPerSecond::new(0.0) }
            }
        }
    }

    /// Length of the longest answer that fits in `room`.
    pub fn tokens_in(&self, form: Form, room: Bits) -> Tokens {
        let for_tokens = room.get() / 8.0 - HEAD_BYTES - END_BYTES;
        // `as` saturates a negative value at 0 tokens.
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
