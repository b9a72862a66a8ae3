//! Empirical cumulative distributions of times.

use hedgerow_core::output::Times;
use hedgerow_core::time::Span;

/// Largest number of points of a curve: more are not visible, and ten million times would be 240 MB.
const POINTS_MAX: usize = 1_000;

/// Points of the empirical cumulative distribution of sorted times, by nearest rank: each is one of the times with
/// the number of times up to it. The last is the longest time.
pub fn cdf(sorted: &[Span]) -> impl Iterator<Item = (Span, usize)> {
    let points = sorted.len().min(POINTS_MAX);
    (1..=points).map(move |point| {
        let rank = (point * sorted.len()).div_ceil(points);
        (sorted[rank - 1], rank)
    })
}

/// The rows of `cdfs.csv`: the curve of each metric.
pub(super) fn rows(times: &Times, offered: u64) -> impl Iterator<Item = [String; 4]> {
    let metrics = [("ttft", &times.ttft), ("tpot", &times.tpot), ("e2e", &times.e2e)];
    metrics.into_iter().flat_map(move |(metric, sorted)| {
        cdf(sorted).map(move |(time, rank)| {
            let part = |all: f64| format!("{:.9}", rank as f64 / all);
            let of_measured = part(sorted.len() as f64);
            [metric.to_owned(), super::files::billionths(time.0), of_measured, part(offered as f64)]
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_at_the_longest_time_with_the_full_count() {
        let points = |count: u64| cdf(&(1..=count).map(Span).collect::<Vec<_>>()).collect::<Vec<_>>();
        assert_eq!(points(0), []);
        assert_eq!(points(2), [(Span(1), 1), (Span(2), 2)]);
        let many = points(1_000_001);
        assert_eq!(
            (many.len(), many[999], many[499]),
            (POINTS_MAX, (Span(1_000_001), 1_000_001), (Span(500_001), 500_001))
        );
    }
}
