//! Aggregates the outcomes of many requests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outcome::Ending;
use super::{Class, Outcome, Record};

/// The outcomes of a set of requests. Refused, cut and failed requests stay in the denominator.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The number of requests.
    pub offered: usize,
    counts: [usize; Outcome::ALL.len()],
    /// The number that the server admitted.
    pub admitted: usize,
    /// The number of complete answers, in time or late.
    pub completed: usize,
    /// The number of those with fewer tokens than requested.
    pub short: usize,
    /// Prompt tokens of all admitted requests.
    pub prompt_tokens: u64,
    /// Output tokens of all answers.
    pub output_tokens: u64,
    /// Output tokens of the answers in time.
    pub met_tokens: u64,
    value_met: f64,
    value_offered: f64,
    /// Time to first token, of the requests that got one.
    pub ttft: Series,
    /// Time per further token, of complete answers.
    pub tpot: Series,
    /// Gaps between pieces of text.
    pub itl: Series,
    /// Time to the end of complete answers.
    pub e2e: Series,
    /// Time to a refusal.
    pub refusal: Series,
    /// Send lag: how long after its due time a request was sent.
    pub lag: Series,
}

impl Tally {
    /// Aggregates records.
    pub fn of<'a>(classes: &[Class], records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut tally = Self::default();
        for record in records {
            tally.count(record, classes[record.class].value);
        }
        let Self { ttft, tpot, itl, e2e, refusal, lag, .. } = &mut tally;
        [ttft, tpot, itl, e2e, refusal, lag].into_iter().for_each(Series::sort);
        tally
    }

    fn count(&mut self, record: &Record, value: f64) {
        let outcome = record.outcome();
        self.offered += 1;
        self.counts[outcome as usize] += 1;
        self.value_offered += value;
        if record.is_admitted() {
            self.admitted += 1;
            self.prompt_tokens += u64::from(record.heard.prompt_tokens.unwrap_or(record.prompt_asked));
            self.output_tokens += u64::from(record.output_tokens());
        }
        if outcome == Outcome::Met {
            self.met_tokens += u64::from(record.output_tokens());
            self.value_met += value;
        }
        if record.is_complete() {
            self.completed += 1;
            self.short += usize::from(record.output_tokens() < record.output_asked);
            self.e2e.add(record.heard.after);
        }
        if outcome == Outcome::Refused {
            self.refusal.add(record.heard.after);
        }
        record.ttft().into_iter().for_each(|time| self.ttft.add(time));
        record.tpot().into_iter().for_each(|time| self.tpot.add(time));
        record.gaps().for_each(|gap| self.itl.add(gap));
        self.lag.add(record.sent.saturating_sub(record.due));
    }

    /// The number with this outcome.
    pub fn count_of(&self, outcome: Outcome) -> usize {
        self.counts[outcome as usize]
    }

    /// The number answered in time.
    pub fn met(&self) -> usize {
        self.count_of(Outcome::Met)
    }

    /// Met over offered.
    pub fn attainment(&self) -> Option<f64> {
        part(self.met() as f64, self.offered as f64)
    }

    /// Met over admitted: how reliable an admission is.
    pub fn admitted_attainment(&self) -> Option<f64> {
        part(self.met() as f64, self.admitted as f64)
    }

    /// The attainment weighted by the classes' values.
    pub fn value_attainment(&self) -> Option<f64> {
        part(self.value_met, self.value_offered)
    }
}

fn part(some: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| some / all)
}

/// Counts each failure, the most frequent first.
pub fn failures<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<(&'a str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records {
        if let Ending::Failed(why) = &record.heard.ending {
            *counts.entry(why).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// Converts a time to milliseconds, to the microsecond.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Times in milliseconds, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(Vec<f64>);

impl Series {
    fn add(&mut self, time: Duration) {
        self.0.push(milliseconds(time));
    }

    fn sort(&mut self) {
        self.0.sort_by(f64::total_cmp);
    }

    /// All times, in ascending order.
    pub fn ms(&self) -> &[f64] {
        &self.0
    }

    /// Returns a percentile, by the nearest-rank method.
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// The mean; `None` if it is empty.
    pub fn mean(&self) -> Option<f64> {
        part(self.0.iter().sum(), self.0.len() as f64)
    }

    /// Returns the standard deviation, as of a whole population.
    pub fn standard_deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        part(self.0.iter().map(|time| (time - mean).powi(2)).sum(), self.0.len() as f64).map(f64::sqrt)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::record;
    use super::*;

    #[test]
    fn every_request_is_counted_once_and_stays_in_the_denominator() {
        let classes = Class::built_in();
        let records = [
            record(Ending::Complete, 1000),
            record(Ending::Complete, 1001),
            record(Ending::Cut, 900),
            record(Ending::Refused, 7),
            record(Ending::HungUp, 1000),
            record(Ending::Failed("no".into()), 1),
            record(Ending::Unfinished, 5000),
            record(Ending::Complete, 300),
        ];
        let tally = Tally::of(&classes, &records);
        let counts = Outcome::ALL.map(|outcome| tally.count_of(outcome));
        assert_eq!(counts, [2, 2, 1, 1, 1, 1]);
        assert_eq!((tally.offered, counts.iter().sum::<usize>()), (8, 8));
        assert_eq!(tally.attainment(), Some(0.25));
        // Three complete answers and the one that was cut off had a 200.
        assert_eq!((tally.admitted, tally.admitted_attainment()), (4, Some(0.5)));
        assert_eq!((tally.completed, tally.prompt_tokens), (3, 160));
        assert_eq!((tally.output_tokens, tally.met_tokens), (44, 22));
        assert_eq!(tally.refusal.ms(), [7.0]);
        assert_eq!(tally.e2e.ms(), [300.0, 1000.0, 1001.0]);
        assert_eq!(tally.lag.percentile(99), Some(1.0));
        assert_eq!(failures(&records), [("no", 1)]);
    }

    #[test]
    fn attainment_is_undefined_without_requests() {
        let tally = Tally::of(&Class::built_in(), []);
        assert_eq!((tally.attainment(), tally.ttft.percentile(50), tally.ttft.mean()), (None, None, None));
    }

    #[test]
    fn value_attainment_weights_classes_by_their_values() {
        let mut classes = Class::built_in();
        classes[1].value = 3.0;
        let met = Record { class: 1, ..record(Ending::Complete, 200) };
        let tally = Tally::of(&classes, &[met, record(Ending::Refused, 1)]);
        assert_eq!((tally.attainment(), tally.value_attainment()), (Some(0.5), Some(0.75)));
    }

    #[test]
    fn percentiles_are_values_and_the_deviation_is_of_the_population() {
        let mut series = Series((1..=100).rev().map(f64::from).collect());
        series.sort();
        assert_eq!(
            [1, 50, 99, 100].map(|percent| series.percentile(percent).unwrap()),
            [1.0, 50.0, 99.0, 100.0]
        );
        let series = Series(vec![2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((series.mean(), series.standard_deviation()), (Some(5.0), Some(2.0)));
    }
}
