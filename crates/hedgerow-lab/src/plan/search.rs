//! Finds the greatest rate that reaches a goal, by bisection.

use std::ops::RangeInclusive;

use hedgerow_sim::mean_95;
use hedgerow_workload::hint::hinted;

use super::{Goal, Point};

/// The first rate tried, in requests per second.
const START_PER_S: f64 = 1.0;

/// Attainment as a function of the rate: points sorted by rate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curve(Vec<Point>);

impl Curve {
    /// Adds a point, unless its rate is there already.
    pub(super) fn add(&mut self, point: Point) {
        let place = self.0.partition_point(|other| other.rate_per_s < point.rate_per_s);
        if self.at(point.rate_per_s).is_none() {
            self.0.insert(place, point);
        }
    }

    /// The point of a rate.
    pub(super) fn at(&self, rate_per_s: f64) -> Option<&Point> {
        self.0.iter().find(|point| point.rate_per_s == rate_per_s)
    }

    /// All points, the lowest rate first.
    pub(crate) fn points(&self) -> &[Point] {
        &self.0
    }

    /// Returns the 95 % confidence interval of the rate at which the curve crosses `target`, by the jackknife over
    /// seeds with Student's t.
    pub(super) fn interval(&self, target: f64) -> Option<(f64, f64)> {
        let seeds = self.0.first()?.attained.len();
        let whole = self.crossing(target, None)?;
        let without = |left_out: usize| {
            let count = seeds as f64;
            Some(count * whole - (count - 1.0) * self.crossing(target, Some(left_out))?)
        };
        let pseudo: Vec<f64> = (0..seeds).map(without).collect::<Option<_>>()?;
        let half = mean_95(&pseudo).1?;
        Some(((whole - half).max(0.0), whole + half))
    }

    /// Returns the rate at which the curve falls below `target`: isotonic (decreasing) regression of the points,
    /// which smooths the noise of short runs, then linear interpolation.
    fn crossing(&self, target: f64, left_out: Option<usize>) -> Option<f64> {
        let heights = isotonic_decreasing(self.0.iter().map(|point| point.mean_without(left_out)));
        let after = heights.iter().position(|&height| height < target)?;
        let before = after.checked_sub(1)?;
        let part = (heights[before] - target) / (heights[before] - heights[after]);
        let rate = |index: usize| self.0[index].rate_per_s;
        Some(rate(before) + part * (rate(after) - rate(before)))
    }
}

/// Least-squares fit of a non-increasing sequence, by the pool-adjacent-violators algorithm (PAVA): neighbours that
/// rise are replaced by their mean.
fn isotonic_decreasing(heights: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for height in heights {
        blocks.push((height, 1));
        while let [.., (before, many), (after, more)] = *blocks
            && after > before
        {
            blocks.truncate(blocks.len() - 2);
            let count = many + more;
            blocks.push(((before * many as f64 + after * more as f64) / count as f64, count));
        }
    }
    blocks.into_iter().flat_map(|(height, count)| std::iter::repeat_n(height, count)).collect()
}

/// Finds the greatest rate that reaches the goal, to within the resolution of a rate that does not: brackets it by
/// doubling or halving, then bisects on a logarithmic scale. Returns `None` if not even the lowest playable rate
/// reaches the goal. Every simulated point is added to the curve.
///
/// # Errors
///
/// Those of `play`; or when the highest playable rate still reaches the goal.
pub(super) fn greatest_rate(
    goal: Goal,
    playable_per_s: RangeInclusive<f64>,
    curve: &mut Curve,
    mut play: impl FnMut(f64) -> anyhow::Result<Point>,
) -> anyhow::Result<Option<f64>> {
    let mut reaches = |rate_per_s: f64| {
        let point = play(rate_per_s)?;
        let reaches = point.mean() >= goal.attainment;
        curve.add(point);
        anyhow::Ok(reaches)
    };
    let (least_per_s, most_per_s) = playable_per_s.into_inner();
    let start = START_PER_S.max(least_per_s).min(most_per_s);
    let (mut low, mut high) = if reaches(start)? {
        let (mut low, mut high) = (start, (2.0 * start).min(most_per_s));
        while low < high && reaches(high)? {
            (low, high) = (high, (2.0 * high).min(most_per_s));
        }
        if low == high {
            return Err(hinted(
                format!("{low} requests a second are still answered in time"),
                "give the mix deadlines that can be missed (`deadline_ms` in the class file), or a trace of more requests",
            ));
        }
        (low, high)
    } else {
        let mut high = start;
        loop {
            if high <= least_per_s {
                return Ok(None);
            }
            let low = (high / 2.0).max(least_per_s);
            if reaches(low)? {
                break (low, high);
            }
            high = low;
        }
    };
    while high > low * (1.0 + goal.resolution) {
        let middle = (low * high).sqrt();
        if reaches(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::play::Usage;

    fn point(rate_per_s: f64, attained: &[f64]) -> Point {
        Point { rate_per_s, attained: attained.to_vec(), usage: Usage::default() }
    }

    const GOAL: Goal = Goal { attainment: 0.9, resolution: 0.01 };

    /// A node that meets every request up to a rate, and a falling fraction above it.
    fn falls_from(knee: f64) -> impl FnMut(f64) -> anyhow::Result<Point> {
        move |rate| Ok(point(rate, &[(knee / rate).min(1.0)]))
    }

    #[test]
    fn finds_the_rate_within_the_resolution_wherever_it_lies() {
        for knee in [0.013, 0.7, 1.0, 5.0, 900.0] {
            let mut curve = Curve::default();
            let found = greatest_rate(GOAL, 0.01..=1e4, &mut curve, falls_from(knee)).unwrap().unwrap();
            let exact = knee / 0.9;
            assert!(found <= exact && exact <= found * 1.01, "{found} for {exact}");
            let points = curve.points();
            let is_rising = |pair: &[Point]| pair[0].rate_per_s < pair[1].rate_per_s;
            assert!(points.windows(2).all(is_rising), "{points:?}");
            let above = points.iter().find(|point| point.rate_per_s > found).unwrap();
            assert!(curve.at(found).unwrap().mean() >= 0.9 && above.mean() < 0.9);
        }
    }

    #[test]
    fn reports_when_no_rate_reaches_the_goal_and_when_every_rate_does() {
        let none = greatest_rate(GOAL, 0.1..=1e4, &mut Curve::default(), |rate| Ok(point(rate, &[0.5])));
        assert_eq!(none.unwrap(), None);
        let any = greatest_rate(GOAL, 0.1..=1e4, &mut Curve::default(), |rate| Ok(point(rate, &[1.0])));
        assert!(any.unwrap_err().to_string().contains("still answered in time"));
    }

    #[test]
    fn isotonic_regression_pools_adjacent_violators() {
        assert_eq!(isotonic_decreasing([1.0, 0.8, 0.9, 0.5].into_iter()).len(), 4);
        let fitted = isotonic_decreasing([1.0, 0.8, 0.9, 0.5].into_iter());
        assert!((fitted[1] - 0.85).abs() < 1e-12 && (fitted[2] - 0.85).abs() < 1e-12, "{fitted:?}");
        assert_eq!((fitted[0], fitted[3]), (1.0, 0.5));
        assert!(isotonic_decreasing(std::iter::empty()).is_empty());
    }

    #[test]
    fn seeds_that_agree_have_a_narrow_interval_and_one_seed_has_none() {
        let curve = |spread: f64| {
            let mut curve = Curve::default();
            for rate in [1.0, 2.0, 3.0] {
                let height = 1.1 - 0.1 * rate;
                curve.add(point(rate, &[height - spread, height, height + spread]));
            }
            curve
        };
        // The mean curve crosses 0.85 at 2.5 whatever the spread.
        let (low, high) = curve(0.0).interval(0.85).unwrap();
        assert!((low - 2.5).abs() < 1e-9 && (high - 2.5).abs() < 1e-9, "{low} to {high}");
        let (low, high) = curve(0.01).interval(0.85).unwrap();
        // A hundredth of attainment is a tenth of a request; Student's t of 2 degrees over √3.
        assert!(low < 2.3 && 2.2 < low && 2.7 < high && high < 2.8, "{low} to {high}");
        let mut one = Curve::default();
        one.add(point(1.0, &[1.0]));
        one.add(point(2.0, &[0.8]));
        assert_eq!(one.interval(0.9), None);
    }
}
