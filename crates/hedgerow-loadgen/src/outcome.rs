//! The outcome of a request, by its client's own clock.

use std::time::Duration;

/// What a client received. All times are from when the request was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The HTTP status, once there was one.
    pub status: Option<u16>,
    /// When each piece of text arrived.
    pub pieces: Vec<Duration>,
    /// When the exchange ended; for an answer, when its finish reason arrived.
    pub after: Duration,
    /// Tokens of the prompt, as the server counts them.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the output, as the server counts them.
    pub output_tokens: Option<u32>,
    /// How it ended.
    pub ending: Ending,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `finish_reason` was `stop` or `length`.
    Complete,
    /// `finish_reason` was `deadline`: the server ended the answer at the deadline.
    Cut,
    /// Refused with status 422, 429 or 503.
    Refused,
    /// The client hung up at the deadline.
    HungUp,
    /// Not ended when the run did.
    Unfinished,
    /// Any other error, with its description.
    Failed(String),
}

/// The outcome of a request. Only `Met` counts as success; all others stay in the denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer arrived in time.
    Met,
    /// It arrived after the deadline, or had not arrived when the run ended.
    Late,
    /// The server refused it.
    Refused,
    /// The server ended the answer at the deadline.
    Cut,
    /// The client hung up at the deadline.
    HungUp,
    /// An error.
    Failed,
}

impl Outcome {
    /// Every outcome, in the order of tables.
    pub const ALL: [Self; 6] = [Self::Met, Self::Late, Self::Refused, Self::Cut, Self::HungUp, Self::Failed];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::HungUp => "hung_up",
            Self::Failed => "failed",
        }
    }
}

/// One request of a run and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Index of its class.
    pub class: usize,
    /// When it should have been sent, from the start of the run.
    pub due: Duration,
    /// When it was sent, from the start of the run.
    pub sent: Duration,
    /// The approximate number of tokens of its prompt.
    pub prompt_asked: u32,
    /// The number of output tokens it asked for.
    pub output_asked: u32,
    /// Its deadline, from when it was sent.
    pub deadline: Option<Duration>,
    /// What its client received.
    pub heard: Heard,
}

impl Record {
    /// Returns its outcome.
    pub fn outcome(&self) -> Outcome {
        match &self.heard.ending {
            Ending::Complete if self.deadline.is_none_or(|deadline| self.heard.after <= deadline) => {
                Outcome::Met
            }
            Ending::Complete | Ending::Unfinished => Outcome::Late,
            Ending::Cut => Outcome::Cut,
            Ending::Refused => Outcome::Refused,
            Ending::HungUp => Outcome::HungUp,
            Ending::Failed(_) => Outcome::Failed,
        }
    }

    /// Whether the server admitted it, with status 200.
    pub fn is_admitted(&self) -> bool {
        self.heard.status == Some(200)
    }

    /// Whether the answer is complete, in time or late.
    pub fn is_complete(&self) -> bool {
        self.heard.ending == Ending::Complete
    }

    /// Time to the first piece of text.
    pub fn ttft(&self) -> Option<Duration> {
        self.heard.pieces.first().copied()
    }

    /// Tokens of the output: the server's count, or else the number of pieces of text.
    pub fn output_tokens(&self) -> u32 {
        self.heard.output_tokens.unwrap_or(self.heard.pieces.len() as u32)
    }

    /// Time per further token of a complete answer: `(E2E - TTFT) / (tokens - 1)`.
    pub fn tpot(&self) -> Option<Duration> {
        let further = self.output_tokens().checked_sub(1).filter(|&further| further > 0)?;
        let first = self.ttft().filter(|_| self.is_complete())?;
        Some(self.heard.after.saturating_sub(first) / further)
    }

    /// Gaps between pieces of text.
    pub fn gaps(&self) -> impl Iterator<Item = Duration> {
        self.heard.pieces.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// Returns the prompt and output tokens processed by `end`, from the start of the run. A prompt is processed when
    /// its answer begins; output tokens are spread evenly over the pieces.
    pub fn tokens_by(&self, end: Duration) -> (f64, f64) {
        let is_by = |piece: &Duration| self.sent + *piece <= end;
        let Some(_) = self.heard.pieces.first().filter(|first| is_by(first)) else { return (0.0, 0.0) };
        let pieces = self.heard.pieces.iter().filter(|piece| is_by(piece)).count();
        let prompt = self.heard.prompt_tokens.unwrap_or(self.prompt_asked);
        let output = f64::from(self.output_tokens()) * pieces as f64 / self.heard.pieces.len() as f64;
        (f64::from(prompt), output)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A request with a deadline of a second.
    pub(crate) fn record(ending: Ending, after_ms: u64) -> Record {
        let (status, pieces, output_tokens) = match &ending {
            Ending::Complete | Ending::Cut => (Some(200), vec![ms(100), ms(after_ms)], Some(11)),
            Ending::Refused => (Some(429), Vec::new(), None),
            Ending::HungUp | Ending::Unfinished | Ending::Failed(_) => (None, Vec::new(), None),
        };
        Record {
            class: 0,
            due: ms(500),
            sent: ms(501),
            prompt_asked: 30,
            output_asked: 11,
            deadline: Some(ms(1000)),
            heard: Heard {
                status,
                pieces,
                after: ms(after_ms),
                prompt_tokens: Some(40),
                output_tokens,
                ending,
            },
        }
    }

    #[test]
    fn only_a_complete_answer_in_time_is_met() {
        let outcome = |ending, after_ms| record(ending, after_ms).outcome();
        assert_eq!(outcome(Ending::Complete, 1000), Outcome::Met);
        assert_eq!(outcome(Ending::Complete, 1001), Outcome::Late);
        assert_eq!(outcome(Ending::Unfinished, 900), Outcome::Late);
        assert_eq!(outcome(Ending::Cut, 900), Outcome::Cut);
        assert_eq!(outcome(Ending::Refused, 1), Outcome::Refused);
        assert_eq!(outcome(Ending::HungUp, 1000), Outcome::HungUp);
        assert_eq!(outcome(Ending::Failed("no".into()), 1), Outcome::Failed);
    }

    #[test]
    fn without_a_deadline_a_complete_answer_is_met_whenever_it_arrives() {
        let record = Record { deadline: None, ..record(Ending::Complete, 1_000_000) };
        assert_eq!(record.outcome(), Outcome::Met);
    }

    #[test]
    fn time_per_token_is_over_the_tokens_after_the_first() {
        assert_eq!(record(Ending::Complete, 1100).tpot(), Some(ms(100)));
        assert_eq!(record(Ending::Cut, 1100).tpot(), None);
        let mut one = record(Ending::Complete, 1100);
        one.heard.output_tokens = Some(1);
        assert_eq!(one.tpot(), None);
    }

    #[test]
    fn tokens_count_when_they_arrive() {
        // Sent at 501 ms, pieces at 601 ms and 1401 ms.
        let record = record(Ending::Complete, 900);
        assert_eq!(record.tokens_by(ms(600)), (0.0, 0.0));
        assert_eq!(record.tokens_by(ms(1400)), (40.0, 5.5));
        assert_eq!(record.tokens_by(ms(1401)), (40.0, 11.0));
    }
}
