//! How long answers turn out to be: what is learned from those that ended, by how long they might have been.
//!
//! A caller says how many tokens an answer may have, and most answers are much shorter. Planning with the
//! limit would promise too little; planning with the mean would break every other promise. So it plans with a
//! length that the stated part of such answers does not exceed, and that grows when an answer goes on.

use std::collections::{BTreeMap, VecDeque};

use crate::units::Tokens;

/// So many answers of a class are remembered.
const REMEMBERED: usize = 256;
/// Nothing is concluded from fewer.
const LEAST: usize = 20;

/// Predicts an answer's length from the latest answers. A class is those whose limits lie between the same two powers of two.
#[derive(Clone, Debug, Default)]
pub struct OutputLengthPredictor {
    classes: BTreeMap<u32, Class>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    /// In the order they ended.
    latest: VecDeque<u32>,
    /// The same by length.
    sorted: Vec<u32>,
}

fn class_of(limit: Tokens) -> u32 {
    limit.0.max(1).ilog2()
}

impl OutputLengthPredictor {
    /// Notes how long an answer with this limit became.
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

    /// The length that an answer will not exceed with this confidence, given that it has `produced` tokens and
    /// goes on: a quantile of those remembered that became longer. `None` where too few did.
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
        assert_eq!(
            lengths.expect(Tokens(512), Tokens(0), 0.9),
            None,
            "another class, of which nothing is known"
        );
    }

    #[test]
    fn an_answer_that_goes_on_is_expected_to_be_one_of_the_long_ones() {
        let lengths = of_ten_to_hundred();
        assert_eq!(lengths.expect(Tokens(256), Tokens(60), 0.5), Some(Tokens(80)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(100), 0.5), None, "nobody ever went on so long");
    }

    #[test]
    fn forgets_old_answers() {
        let mut lengths = of_ten_to_hundred();
        (0..REMEMBERED).for_each(|_| lengths.note(Tokens(256), Tokens(7)));
        assert_eq!(lengths.expect(Tokens(256), Tokens(0), 0.9), Some(Tokens(7)));
    }
}
