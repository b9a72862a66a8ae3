//! Tables of step times taken on the node itself.
//!
//! Kernels switch at batch sizes of 2, 8, 16 and so on, so a fitted straight line would be wrong by up
//! to twice: the tables keep the measured points and interpolate between neighbours.

use super::StepLoad;
use crate::time::Span;

/// Step times of one precision: `prefill(tokens, context)` and `decode(requests, kv)` (`model.md §1`).
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct MeasuredCost {
    /// Time of a chunk of so many tokens at the start of a prompt.
    pub prefill: Curve,
    /// Added for each pair of a chunk's token and a token before the chunk, in nanoseconds.
    pub prefill_context_ns: f64,
    /// Time of a decode step of so many requests with an empty cache.
    pub decode: Curve,
    /// Added for each token that the decoding requests hold, in nanoseconds.
    pub decode_kv_ns: f64,
}

impl MeasuredCost {
    /// How long one step takes: its chunks one after the other, then its decodes together.
    pub fn step(&self, load: &StepLoad) -> Span {
        let mut total = Span::ZERO;
        for chunk in &load.prefill {
            let pairs = f64::from(chunk.tokens.0) * f64::from(chunk.start.0);
            total += self.prefill.at(chunk.tokens.0) + Span((self.prefill_context_ns * pairs) as u64);
        }
        if load.decode_count > 0 {
            total +=
                self.decode.at(load.decode_count) + Span((self.decode_kv_ns * load.decode_kv as f64) as u64);
        }
        total
    }
}

/// A time that depends on a count: measured points, straight lines between them, the last line's slope
/// beyond them, and through the origin below them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "Vec<(u32, Span)>", into = "Vec<(u32, Span)>")]
pub struct Curve {
    points: Vec<(u32, Span)>,
}

impl Curve {
    /// A curve through these points. Where a larger count was measured faster (noise), the curve stays
    /// level, so that more work never seems to take less time.
    ///
    /// # Panics
    ///
    /// If there is no point, a count is 0, or counts do not grow.
    pub fn new(mut points: Vec<(u32, Span)>) -> Self {
        assert!(points.first().is_some_and(|first| first.0 > 0), "a curve needs a point, of a count above 0");
        assert!(points.is_sorted_by(|a, b| a.0 < b.0), "counts must grow: {points:?}");
        for index in 1..points.len() {
            points[index].1 = points[index].1.max(points[index - 1].1);
        }
        Self { points }
    }

    /// The measured points, smoothed so that they never fall.
    pub fn points(&self) -> &[(u32, Span)] {
        &self.points
    }

    /// The time at a count; zero at 0.
    pub fn at(&self, count: u32) -> Span {
        let after = self.points.partition_point(|point| point.0 < count);
        let origin = (0, Span::ZERO);
        let last = self.points.len() - 1;
        let (left, right) = match after {
            0 => (origin, self.points[0]),
            _ if after <= last => (self.points[after - 1], self.points[after]),
            _ if last == 0 => (origin, self.points[0]),
            _ => (self.points[last - 1], self.points[last]),
        };
        let slope = (right.1 - left.1).0 as f64 / f64::from(right.0 - left.0);
        left.1 + Span((slope * f64::from(count - left.0)).round() as u64)
    }
}

/// Points that no curve goes through.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a curve needs a point, and counts that are above 0 and grow: {points:?}")]
pub struct NoCurve {
    /// The points.
    pub points: Vec<(u32, Span)>,
}

impl TryFrom<Vec<(u32, Span)>> for Curve {
    type Error = NoCurve;

    fn try_from(points: Vec<(u32, Span)>) -> Result<Self, NoCurve> {
        let is_curve =
            points.first().is_some_and(|first| first.0 > 0) && points.is_sorted_by(|a, b| a.0 < b.0);
        if is_curve { Ok(Self::new(points)) } else { Err(NoCurve { points }) }
    }
}

impl From<Curve> for Vec<(u32, Span)> {
    fn from(curve: Curve) -> Self {
        curve.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Span {
        Span::from_millis(value)
    }

    #[test]
    fn interpolates_between_neighbours_and_goes_on_with_the_last_slope() {
        let curve = Curve::new(vec![(1, ms(6)), (2, ms(12)), (4, ms(18))]);
        let read: Vec<_> = [0, 1, 2, 3, 4, 6].iter().map(|&count| curve.at(count)).collect();
        assert_eq!(read, [ms(0), ms(6), ms(12), ms(15), ms(18), ms(24)]);
    }

    #[test]
    fn one_point_is_a_line_through_the_origin() {
        let curve = Curve::new(vec![(64, ms(64))]);
        assert_eq!((curve.at(1), curve.at(128)), (ms(1), ms(128)));
    }

    #[test]
    fn more_work_never_seems_faster() {
        let curve = Curve::new(vec![(1, ms(6)), (2, ms(5)), (4, ms(8))]);
        assert_eq!(curve.at(2), ms(6));
    }
}
