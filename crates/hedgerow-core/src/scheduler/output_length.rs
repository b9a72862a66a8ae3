//! Prediction of output lengths from the lengths of recent answers with a similar `max_tokens`.
//!
//! A request states the most tokens its answer may have, and most answers are much shorter. Planning with the limit
//! would admit too few requests; planning with the mean would make about every second one late. So requests are
//! planned with the quantile of recent lengths that `confidence` sets, which is raised when an answer outgrows it.

use std::collections::{BTreeMap, VecDeque};

use crate::model::units::Tokens;

/// How many answers of a class are remembered.
const REMEMBERED: usize = 256;
/// The fewest answers that a prediction is made from.
const LEAST: usize = 20;

/// Predicts an answer's length from the latest answers of its class: those whose limits lie between the same two
/// powers of two.
#[derive(Clone, Debug, Default)]
pub struct OutputLengthPredictor {
    classes: BTreeMap<u32, Class>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    /// Lengths in the order in which the answers ended.
    latest: VecDeque<u32>,
    /// The same lengths, sorted.
    sorted: Vec<u32>,
}

fn class_of(limit: Tokens) -> u32 {
    limit.0.max(1).ilog2()
}

impl OutputLengthPredictor {
    /// Notes the length of an answer with this limit.
    pub fn note(&mut self, limit: Tokens, produced: Tokens) {
        let class = self.classes.entry(class_of(limit)).or_default();
        if class.latest.len() == REMEMBERED {
            let oldest = class.latest.pop_front().expect("it is full");
            let place = class.sorted.partition_point(|&length| length < oldest);
            class.sorted.remove(place);
        }
        class.latest.push_back(produced.0);
        class.sorted.insert(class.sorted.partition_point(|&length| length < produced.0), produced.0);
    }

    /// The length that an answer will not exceed with probability `confidence`, given that it has `produced` tokens
    /// and has not ended: a quantile of the remembered lengths above that. `None` where there are too few.
    pub fn expect(&self, limit: Tokens, produced: Tokens, confidence: f64) -> Option<Tokens> {
        let class = self.classes.get(&class_of(limit))?;
        let longer = &class.sorted[class.sorted.partition_point(|&length| length <= produced.0)..];
        if class.sorted.len() < LEAST || longer.len() < LEAST / 2 {
            return None;
        }
        let rank = ((longer.len() as f64 * confidence).ceil() as usize).clamp(1, longer.len());
        Some(Tokens(longer[rank - 1]).min(limit))
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
}
