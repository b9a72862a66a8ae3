//! A time as a function of a count and a depth, interpolated between measured points.

use serde::{Deserialize, Serialize};

use crate::model::time::Span;

/// The times measured at one count, at increasing depths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Tokens of a chunk, or requests of a decode step.
    pub count: u32,
    /// Tokens in the cache before the step, and the time in nanoseconds.
    pub times_ns: Vec<(u32, u64)>,
}

/// A time as a function of a count and a depth: measured points, with bilinear interpolation between them.
///
/// - Below the first count it is interpolated linearly to zero at count 0.
/// - Below the first depth of a line it is constant. Beyond a line's last depth it runs parallel to the next line
///   that was measured at that depth, or is extrapolated with its own last slope. Beyond the last count it is
///   extrapolated with the last slope.
/// - It is monotone in both directions: where more work was measured as faster (noise), the slower time counts for
///   both.
///
/// Lines may have different depths. A lookup takes two binary searches and no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Line>", into = "Vec<Line>")]
pub struct Surface {
    /// The measured points.
    lines: Vec<Line>,
    /// 0, the counts of the lines, and one beyond.
    counts: Vec<u64>,
    /// 0, every depth of any line, and one beyond.
    depths: Vec<u64>,
    /// The time at each count and depth, count by count.
    times_ns: Vec<u64>,
}

/// Why measured points do not define a surface.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SurfaceError {
    /// There is no line, or a line without a point.
    #[error("a surface needs a line, and each line a measured point")]
    Empty,
    /// The counts of lines do not increase, or begin at 0.
    #[error("counts must grow from line to line and begin above 0, but {count} follows {before}")]
    Counts {
        /// The previous count, 0 for the first.
        before: u32,
        /// The count that is not above it.
        count: u32,
    },
    /// The depths of a line's points do not increase.
    #[error("depths must grow along a line, but {depth} follows {before} at count {count}")]
    Depths {
        /// The count of the line.
        count: u32,
        /// The previous depth.
        before: u32,
        /// The depth that is not above it.
        depth: u32,
    },
}

/// Upper limit of a time, about a hundred days, so that no product below overflows.
const LONGEST_NS: u64 = 1 << 53;

impl Surface {
    /// A surface through these points.
    ///
    /// # Errors
    ///
    /// When there is no point, or counts or depths do not increase.
    pub fn new(lines: Vec<Line>) -> Result<Self, SurfaceError> {
        check(&lines)?;
        let mut depths: Vec<u32> =
            lines.iter().flat_map(|line| &line.times_ns).map(|point| point.0).collect();
        depths.push(0);
        depths.sort_unstable();
        depths.dedup();
        let mut rows = vec![vec![0; depths.len()]];
        rows.extend(spread(&lines, &depths));
        for index in 1..rows.len() {
            let (before, row) = rows.split_at_mut(index);
            row[0].iter_mut().zip(&before[index - 1]).for_each(|(time, &least)| *time = least.max(*time));
        }
        let mut counts: Vec<u64> = lines.iter().map(|line| line.count.into()).collect();
        counts.insert(0, 0);
        let mut depths: Vec<u64> = depths.into_iter().map(u64::from).collect();
        add_far_depth(&mut depths, &mut rows);
        add_far_count(&mut counts, &mut rows);
        Ok(Self { lines, counts, depths, times_ns: rows.concat() })
    }

    /// A surface that does not depend on depth.
    ///
    /// # Panics
    ///
    /// If there is no point, a count is 0, or counts do not increase.
    pub fn level(points: &[(u32, Span)]) -> Self {
        let lines = points.iter().map(|&(count, time)| Line { count, times_ns: vec![(0, time.0)] });
        Self::new(lines.collect()).expect("points of a level surface have counts that grow")
    }

    /// The measured points.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The time at a count and a depth; zero for a count of 0.
    pub fn at(&self, count: u32, depth: u64) -> Span {
        let depth = depth.min(u32::MAX.into());
        let row = cell(&self.counts, count.into());
        let column = cell(&self.depths, depth);
        let side = |axis: &[u64], index: usize, value: u64| {
            let (low, high, value) =
                (i128::from(axis[index]), i128::from(axis[index + 1]), i128::from(value));
            (high - value, value - low, high - low)
        };
        let (left, right, width) = side(&self.counts, row, count.into());
        let (near, far, length) = side(&self.depths, column, depth);
        let time = |row: usize, column: usize| i128::from(self.times_ns[row * self.depths.len() + column]);
        let weighted = left * (near * time(row, column) + far * time(row, column + 1))
            + right * (near * time(row + 1, column) + far * time(row + 1, column + 1));
        // In integers, so that rounding cannot break monotonicity.
        Span(u64::try_from(weighted / (width * length)).unwrap_or(u64::MAX))
    }
}

impl TryFrom<Vec<Line>> for Surface {
    type Error = SurfaceError;
    fn try_from(lines: Vec<Line>) -> Result<Self, SurfaceError> {
        Self::new(lines)
    }
}

impl From<Surface> for Vec<Line> {
    fn from(surface: Surface) -> Self {
        surface.lines
    }
}

fn check(lines: &[Line]) -> Result<(), SurfaceError> {
    if lines.is_empty() || lines.iter().any(|line| line.times_ns.is_empty()) {
        return Err(SurfaceError::Empty);
    }
    let mut before = 0;
    for &Line { count, ref times_ns } in lines {
        if count <= before {
            return Err(SurfaceError::Counts { before, count });
        }
        before = count;
        if let Some(pair) = times_ns.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(SurfaceError::Depths { count, before: pair[0].0, depth: pair[1].0 });
        }
    }
    Ok(())
}

/// The index of the grid cell that contains a value, or of the last cell if the value lies beyond.
fn cell(axis: &[u64], value: u64) -> usize {
    axis.partition_point(|&point| point <= value).clamp(1, axis.len() - 1) - 1
}

/// Each line's time at each of `depths`, computed from the last line to the first, because each uses the next.
fn spread(lines: &[Line], depths: &[u32]) -> Vec<Vec<u64>> {
    let mut rows: Vec<Vec<u64>> = Vec::new();
    for line in lines.iter().rev() {
        let points = risen(&line.times_ns);
        let last = points[points.len() - 1];
        let own_last = depths.partition_point(|&depth| depth < last.0);
        let row = depths.iter().enumerate().map(|(column, &depth)| match rows.last() {
            // Deeper measurements at a larger count determine how this line continues; the extrapolation must not
            // cross them.
            Some(next) if column > own_last => {
                (last.1 + (next[column] - next[own_last])).min(next[column]).max(last.1)
            }
            // Nor may its constant part.
            Some(next) if depth < points[0].0 => points[0].1.min(next[column]),
            _ => along(&points, depth),
        });
        let row = row.collect();
        rows.push(row);
    }
    rows.reverse();
    rows
}

/// The points of a line, made monotone by a running maximum.
fn risen(points: &[(u32, u64)]) -> Vec<(u32, u64)> {
    let mut least = 0;
    let rise = |&(depth, time): &(u32, u64)| {
        least = time.min(LONGEST_NS).max(least);
        (depth, least)
    };
    points.iter().map(rise).collect()
}

/// The time on a line: constant before its first point, linear between two points, and extrapolated from the last
/// two.
fn along(points: &[(u32, u64)], depth: u32) -> u64 {
    let after = points.partition_point(|point| point.0 <= depth);
    let (left, right) = match after {
        0 => return points[0].1,
        _ if after < points.len() => (points[after - 1], points[after]),
        1 => return points[0].1,
        _ => (points[after - 2], points[after - 1]),
    };
    let part = |span: u64| u128::from(span) * u128::from(depth - left.0) / u128::from(right.0 - left.0);
    left.1 + u64::try_from(part(right.1 - left.1)).unwrap_or(LONGEST_NS).min(LONGEST_NS)
}

/// Adds a depth beyond the last, such that every row continues at least as steeply as the rows before it.
fn add_far_depth(depths: &mut Vec<u64>, rows: &mut [Vec<u64>]) {
    let last = depths.len() - 1;
    let before = last.saturating_sub(1);
    let mut rise = 0;
    for row in rows {
        rise = rise.max(row[last] - row[before]);
        row.push(row[last] + rise);
    }
    depths.push(depths[last] + (depths[last] - depths[before]).max(1));
}

/// Adds a count beyond the last, such that every column continues at least as steeply as the columns before it.
fn add_far_count(counts: &mut Vec<u64>, rows: &mut Vec<Vec<u64>>) {
    let last = counts.len() - 1;
    let mut rise = 0;
    let far = rows[last].iter().zip(&rows[last - 1]).map(|(&time, &before)| {
        rise = rise.max(time - before);
        time + rise
    });
    let far = far.collect();
    rows.push(far);
    counts.push(counts[last] + (counts[last] - counts[last - 1]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(count: u32, times_ns: &[(u32, u64)]) -> Line {
        Line { count, times_ns: times_ns.to_vec() }
    }

    fn surface(lines: &[Line]) -> Surface {
        Surface::new(lines.to_vec()).unwrap()
    }

    #[test]
    fn is_exact_where_it_was_measured_and_bilinear_between() {
        let surface = surface(&[line(2, &[(0, 100), (10, 200)]), line(4, &[(0, 140), (10, 280)])]);
        let read = |count, depth| surface.at(count, depth).0;
        assert_eq!([read(2, 0), read(2, 10), read(4, 0), read(4, 10)], [100, 200, 140, 280]);
        assert_eq!([read(3, 0), read(2, 5), read(3, 5)], [120, 150, 180]);
    }

    #[test]
    fn below_the_first_count_it_runs_to_zero_and_below_the_first_depth_it_is_level() {
        let surface = surface(&[line(4, &[(8, 100), (16, 200)])]);
        assert_eq!(surface.at(0, 16), Span::ZERO);
        assert_eq!((surface.at(1, 16), surface.at(2, 16)), (Span(50), Span(100)));
        assert_eq!((surface.at(4, 0), surface.at(4, 8)), (Span(100), Span(100)));
    }

    #[test]
    fn goes_on_with_the_last_slope() {
        let surface = surface(&[line(2, &[(0, 100), (10, 200)]), line(4, &[(0, 140), (10, 280)])]);
        assert_eq!(surface.at(4, 30), Span(560));
        assert_eq!(surface.at(8, 0), Span(220));
        assert_eq!(Surface::level(&[(64, Span(64))]).at(128, 1_000), Span(128));
    }

    #[test]
    fn a_line_goes_on_as_the_next_one_that_was_measured_deeper() {
        let surface = surface(&[line(1, &[(8, 50)]), line(16, &[(128, 500), (1_128, 700), (2_128, 800)])]);
        assert_eq!([1_128, 2_128].map(|depth| surface.at(1, depth).0), [250, 350]);
        assert_eq!([1_128, 2_128].map(|depth| surface.at(16, depth).0), [700, 800]);
    }

    #[test]
    fn more_work_never_seems_faster() {
        let surface =
            surface(&[line(1, &[(0, 60), (8, 90)]), line(2, &[(0, 50), (8, 40)]), line(4, &[(0, 80)])]);
        assert_eq!((surface.at(2, 0), surface.at(2, 8)), (Span(60), Span(90)));
        assert_eq!(surface.at(4, 8), Span(90));
    }

    #[test]
    fn points_in_the_wrong_order_are_refused() {
        assert_eq!(Surface::new(Vec::new()), Err(SurfaceError::Empty));
        assert_eq!(Surface::new(vec![line(1, &[])]), Err(SurfaceError::Empty));
        let counts = Surface::new(vec![line(2, &[(0, 1)]), line(2, &[(0, 1)])]);
        assert_eq!(counts, Err(SurfaceError::Counts { before: 2, count: 2 }));
        let depths = Surface::new(vec![line(2, &[(8, 1), (4, 1)])]);
        assert_eq!(depths, Err(SurfaceError::Depths { count: 2, before: 8, depth: 4 }));
    }

    prop_compose! {
        /// Lines with arbitrary times.
        fn any_lines()(
            steps in prop::collection::vec(
                (1..40_u32, prop::collection::vec((1..600_u32, 0..50_000_000_u64), 1..5)), 1..6,
            )
        ) -> Vec<Line> {
            let mut count = 0;
            let lines = steps.into_iter().map(|(step, points)| {
                count += step;
                let mut depth = 0;
                let deeper = |(step, time)| {
                    depth += step;
                    (depth - 1, time)
                };
                Line { count, times_ns: points.into_iter().map(deeper).collect() }
            });
            lines.collect()
        }
    }

    proptest! {
        #[test]
        fn it_never_falls(
            lines in any_lines(),
            count in 0..400_u32, more in 0..400_u32, depth in 0..8_000_u64, deeper in 0..8_000_u64,
        ) {
            let surface = Surface::new(lines).unwrap();
            let less = surface.at(count, depth);
            prop_assert!(less <= surface.at(count + more, depth));
            prop_assert!(less <= surface.at(count, depth + deeper));
        }

        #[test]
        fn it_is_exact_at_points_of_which_none_needs_smoothing(mut lines in any_lines()) {
            for line in &mut lines {
                for (depth, time) in &mut line.times_ns {
                    // Grows in both directions; not a plane, but straight along each line, so that nothing
                    // between two points of one line is above a point of the next.
                    let (count, deep) = (u64::from(line.count), u64::from(*depth));
                    *time = 1_000 * count + 7 * deep + 3 * deep * count + count * count;
                }
            }
            let surface = Surface::new(lines.clone()).unwrap();
            for line in lines {
                for (depth, time) in line.times_ns {
                    prop_assert_eq!(surface.at(line.count, depth.into()), Span(time));
                }
            }
        }

        #[test]
        fn any_question_has_an_answer(lines in any_lines(), count: u32, depth: u64) {
            let surface = Surface::new(lines).unwrap();
            prop_assert!(surface.at(count, depth) >= surface.at(count, 0));
            prop_assert_eq!(surface.at(0, depth), Span::ZERO);
        }
    }
}
