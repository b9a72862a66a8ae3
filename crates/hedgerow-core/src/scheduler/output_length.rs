//! Prediction of output lengths from the lengths of recent answers with a similar `max_tokens`.
//!
//! A request states the most tokens its answer may have, and most answers are much shorter. Planning with the limit
//! would admit too few requests; planning with the mean would make about every second one late. So requests are
//! planned with the quantile of recent lengths that `confidence` sets, which is raised when an answer outgrows it.
//!
//! Only the model's own end shows how long an answer is. One that was cut off, by its limit, a stop text or its
//! deadline, would have been at least that long: a censored observation. The quantile is that of the Kaplan-Meier
//! estimate, which is the empirical one where nothing is censored.

use std::collections::{BTreeMap, VecDeque};

use crate::model::units::Tokens;

/// How many answers of a class are remembered.
const REMEMBERED: usize = 256;
/// The fewest complete answers that a prediction is made from.
const LEAST: usize = 20;

/// Predicts an answer's length from the latest answers of its class: those whose limits lie between the same two
/// powers of two.
#[derive(Clone, Debug, Default)]
pub struct OutputLengthPredictor {
    classes: BTreeMap<u32, Class>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    /// Answers in the order in which they ended.
    latest: VecDeque<Answer>,
    /// The same answers, sorted.
    sorted: Vec<Answer>,
}

/// Answers of the same length are sorted with the complete ones first: a censored one is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    length: u32,
    is_censored: bool,
}

fn class_of(limit: Tokens) -> u32 {
    limit.0.max(1).ilog2()
}

impl OutputLengthPredictor {
    /// Notes the length of an answer that the model ended by itself.
    pub fn note(&mut self, limit: Tokens, produced: Tokens) {
        self.remember(limit, Answer { length: produced.0, is_censored: false });
    }

    /// Notes an answer that was cut off after `produced` tokens.
    pub fn note_cut_off(&mut self, limit: Tokens, produced: Tokens) {
        self.remember(limit, Answer { length: produced.0, is_censored: true });
    }

    fn remember(&mut self, limit: Tokens, answer: Answer) {
        let class = self.classes.entry(class_of(limit)).or_default();
        if class.latest.len() == REMEMBERED {
            let oldest = class.latest.pop_front().expect("it is full");
            let place = class.sorted.partition_point(|&other| other < oldest);
            class.sorted.remove(place);
        }
        class.latest.push_back(answer);
        class.sorted.insert(class.sorted.partition_point(|&other| other < answer), answer);
    }

    /// The length that an answer will not exceed with probability `confidence`, given that it has `produced` tokens
    /// and has not ended: a quantile of the remembered lengths above that. `None` where there are too few complete
    /// answers, or too many were cut off before that length.
    pub fn expect(&self, limit: Tokens, produced: Tokens, confidence: f64) -> Option<Tokens> {
        let class = self.classes.get(&class_of(limit))?;
        let complete = |answers: &[Answer]| answers.iter().filter(|answer| !answer.is_censored).count();
        let longer = &class.sorted[class.sorted.partition_point(|answer| answer.length <= produced.0)..];
        if complete(&class.sorted) < LEAST || complete(longer) < LEAST / 2 {
            return None;
        }
        // The probability to be longer than each of the lengths, one after the other.
        let mut exceeds = 1.0;
        for (index, answer) in longer.iter().enumerate().filter(|(_, answer)| !answer.is_censored) {
            let at_least_as_long = (longer.len() - index) as f64;
            exceeds *= 1.0 - 1.0 / at_least_as_long;
            // Without the tolerance, rounding could ask for one answer more.
            if exceeds <= 1.0 - confidence + 1e-9 {
                return Some(Tokens(answer.length).min(limit));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ten_to_hundred() -> OutputLengthPredictor {
        let mut lengths = OutputLengthPredictor::default();
        (1..=100).for_each(|ended| lengths.note(Tokens(256), Tokens(10 * (ended % 10) + 10)));
        lengths
    }

    #[test]
    fn expects_what_nine_of_ten_did_not_exceed() {
        let lengths = of_ten_to_hundred();
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.9), Some(Tokens(90)));
        assert_eq!(lengths.expect(Tokens(300), Tokens(0), 0.5), Some(Tokens(50)), "the same class");
        assert_eq!(lengths.expect(Tokens(512), Tokens(0), 0.9), None, "another class, which has no answers");
    }

    #[test]
    fn an_answer_that_goes_on_is_expected_to_be_one_of_the_long_ones() {
        let lengths = of_ten_to_hundred();
        assert_eq!(lengths.expect(Tokens(256), Tokens(60), 0.5), Some(Tokens(80)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(100), 0.5), None, "no remembered answer is so long");
    }

    #[test]
    fn forgets_old_answers() {
        let mut lengths = of_ten_to_hundred();
        (0..REMEMBERED).for_each(|_| lengths.note(Tokens(256), Tokens(7)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.9), Some(Tokens(7)));
    }

    #[test]
    fn answers_that_were_cut_off_make_no_prediction_shorter() {
        let mut lengths = OutputLengthPredictor::default();
        (0..264).for_each(|_| lengths.note_cut_off(Tokens(256), Tokens(1)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.9), None);
        let mut lengths = of_ten_to_hundred();
        (0..100).for_each(|_| lengths.note_cut_off(Tokens(256), Tokens(1)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.9), Some(Tokens(90)));
    }

    #[test]
    fn an_answer_that_was_cut_off_counts_as_one_that_is_longer() {
        let mut lengths = of_ten_to_hundred();
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.5), Some(Tokens(50)));
        (0..50).for_each(|_| lengths.note_cut_off(Tokens(256), Tokens(40)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.5), Some(Tokens(60)));
        (0..100).for_each(|_| lengths.note_cut_off(Tokens(300), Tokens(300)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.9), None, "too many reach the limit");
    }
}
