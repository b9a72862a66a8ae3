//! Summaries of many records: attainment, goodput and latency percentiles (`model.md §4`).

use super::{Outcome, Record};
use crate::model::time::{Instant, Span};

/// The summary of a set of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Requests that arrived.
    pub offered: u64,
    /// Requests whose deadline and targets were met.
    pub met: u64,
    /// Requests completed late, or cut off at their deadline.
    pub late: u64,
    /// Requests rejected.
    pub turned_away: u64,
    /// Requests that ended otherwise: cancelled, failed, or cut off by a shutdown.
    pub other: u64,
    /// Requests that started.
    pub admitted: u64,
    /// Tokens produced.
    pub tokens: u64,
    /// From the first arrival to the last end.
    pub duration: Span,
    /// Time to first token.
    pub ttft: Percentiles,
    /// Time per output token after the first.
    pub tpot: Percentiles,
    /// Arrival to end, of completed answers.
    pub e2e: Percentiles,
}

/// Percentiles of a set of spans; `None` where the set is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<Span>,
    /// The 95th percentile.
    pub p95: Option<Span>,
    /// The 99th percentile.
    pub p99: Option<Span>,
}

/// Accumulates records into a summary; of each it stores three times only.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    summary: Summary,
    /// The first arrival and the last end.
    extent: Option<(Instant, Instant)>,
    times: Times,
}

/// The latencies of a set of requests, sorted, of those that have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Time to first token.
    pub ttft: Vec<Span>,
    /// Time per output token after the first.
    pub tpot: Vec<Span>,
    /// Arrival to end, of completed answers.
    pub e2e: Vec<Span>,
}

impl Tally {
    /// Adds a record.
    pub fn note(&mut self, record: &Record) {
        let Self { summary, extent, times } = self;
        summary.offered += 1;
        match record.outcome {
            Outcome::Met(_) => summary.met += 1,
            Outcome::Late(_) | Outcome::Expired => summary.late += 1,
            Outcome::Rejected(_) => summary.turned_away += 1,
            Outcome::Cancelled | Outcome::Failed(_) | Outcome::ShutDown => summary.other += 1,
        }
        summary.admitted += u64::from(record.started.is_some());
        summary.tokens += u64::from(record.produced.0);
        let (first, last) = extent.get_or_insert((record.request.arrived, record.ended));
        (*first, *last) = ((*first).min(record.request.arrived), (*last).max(record.ended));
        times.ttft.extend(record.ttft());
        times.tpot.extend(record.tpot());
        times.e2e.extend(record.e2e());
    }

    /// The summary of the records added, and their sorted latencies.
    pub fn finish(self) -> (Summary, Times) {
        let Self { mut summary, extent, mut times } = self;
        summary.duration = extent.map_or(Span::ZERO, |(first, last)| last.since(first));
        let Times { ttft, tpot, e2e } = &mut times;
        [&mut *ttft, &mut *tpot, &mut *e2e].into_iter().for_each(|spans| spans.sort_unstable());
        summary.ttft = Percentiles::of_sorted(ttft);
        summary.tpot = Percentiles::of_sorted(tpot);
        summary.e2e = Percentiles::of_sorted(e2e);
        (summary, times)
    }
}

impl Summary {
    /// Summarizes records.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut tally = Tally::default();
        records.into_iter().for_each(|record| tally.note(record));
        tally.finish().0
    }

    /// Attainment: met / offered; rejected, failed and late all count as not met.
    pub fn attainment(&self) -> f64 {
        fraction(self.met, self.offered)
    }

    /// Admitted attainment: met / admitted.
    pub fn admitted_attainment(&self) -> f64 {
        fraction(self.met, self.admitted)
    }

    /// Goodput: requests per second whose deadline and targets were met.
    pub fn goodput_per_s(&self) -> f64 {
        if self.duration == Span::ZERO { 0.0 } else { self.met as f64 / self.duration.as_seconds() }
    }
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Percentiles {
    /// The percentiles of some spans, by nearest rank: each is one of them.
    pub fn of(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable();
        Self::of_sorted(&spans)
    }

    fn of_sorted(spans: &[Span]) -> Self {
        let rank = |percent: usize| {
            let rank = (spans.len() * percent).div_ceil(100);
            rank.checked_sub(1).map(|index| spans[index])
        };
        Self { p50: rank(50), p95: rank(95), p99: rank(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let spans: Vec<_> = (1..=20).map(Span::from_millis).collect();
        let percentiles = Percentiles::of(spans);
        assert_eq!(percentiles.p50, Some(Span::from_millis(10)));
        assert_eq!(percentiles.p95, Some(Span::from_millis(19)));
        assert_eq!(percentiles.p99, Some(Span::from_millis(20)));
        assert_eq!(Percentiles::of(Vec::new()).p50, None);
    }
}
