//! Multipliers from the linear relaxation: a bounded dual simplex for few rows and many columns, with the
//! bound-flipping ratio test and steepest-edge pricing.
//!
//! All computation here is in floating point and proves nothing: the integer bound that is computed from the
//! multipliers holds for any multipliers, and good ones make it tight.
//!
//! The program is `max gain·x` over `Σ part·x ≤ limit`, `0 ≤ x ≤ 1`. A nonbasic column is at its upper bound when its
//! reduced gain is positive, so every basis with multipliers ≥ 0 is dual feasible, and a step along a dual direction
//! may flip any number of columns from one bound to the other.

use super::super::budget::Budget;
use super::table::{ROWS, Table};

/// Columns are processed in groups of this size, which compilers turn into vector instructions.
const LANES: usize = 8;

/// The most pivots; more would be needed only because of rounding errors.
const PIVOTS_MAX: usize = 100;

/// Zero tolerance, for parts of a limit and of a request.
const ZERO: f64 = 1e-9;

/// The most guesses of where a step ends.
const GUESSES: usize = 5;

/// The linear program, with its buffers.
#[derive(Default)]
pub(super) struct Simplex {
    part: [Vec<f64>; ROWS],
    gain: Vec<f64>,
    /// Reduced gains: the gains less the price of the parts.
    reduced: Vec<f64>,
    /// The step length at which each reduced gain changes its sign; infinite if it does not.
    ratio: Vec<f64>,
    /// The rate at which it approaches zero.
    slope: Vec<f64>,
    breaks: Vec<Break>,
}

/// A breakpoint: where a reduced gain changes its sign.
#[derive(Clone, Copy)]
struct Break {
    ratio: f64,
    slope: f64,
    column: usize,
}

/// The basis and its inverse.
struct Basis {
    /// The basic variables: columns by their index, and after them the slacks of the rows.
    basic: [usize; ROWS],
    inverse: [[f64; ROWS]; ROWS],
}

/// The leaving variable: a basic one outside its bounds.
struct Leaving {
    line: usize,
    violation: f64,
    /// The dual direction that reduces the violation.
    direction: [f64; ROWS],
}

impl Simplex {
    /// Multipliers of the rows, in value per largest limit, for a choice among `free` within `limit`, which is in
    /// parts. Stops early once they prove that no choice reaches the value `wanted`, or when the budget ends.
    pub(super) fn multipliers(
        &mut self,
        table: &Table,
        free: &[u32],
        limit: &[f64; ROWS],
        wanted: f64,
        budget: &mut Budget<'_>,
    ) -> [f64; ROWS] {
        self.load(table, free);
        let columns = self.gain.len();
        let mut basis = Basis::of_slacks(columns);
        let mut y = [0.0; ROWS];
        for _ in 0..PIVOTS_MAX {
            let (gained, used) = self.price(&y);
            let bound = gained + (0..ROWS).map(|row| y[row] * limit[row]).sum::<f64>();
            if bound < wanted || !budget.may_go_on(columns) {
                break;
            }
            let left = std::array::from_fn(|row| limit[row] - used[row]);
            let Some(leaving) = basis.leaving(&self.without_basics(&basis, left), columns) else { break };
            let Some((enters, step)) = self.entering(&basis, &leaving, &y) else { break };
            for (y, direction) in y.iter_mut().zip(leaving.direction) {
                *y = (*y + step * direction).max(0.0);
            }
            basis.pivot(leaving.line, enters, &self.column(enters));
        }
        y
    }

    fn load(&mut self, table: &Table, free: &[u32]) {
        let padded = free.len().next_multiple_of(LANES);
        // Padding columns have negative gain and no needs, so they are never taken.
        let fill = |to: &mut Vec<f64>, from: &[f64], padding: f64| {
            to.clear();
            to.extend(free.iter().map(|&item| from[item as usize]));
            to.resize(padded, padding);
        };
        for (to, from) in self.part.iter_mut().zip(&table.part) {
            fill(to, from, 0.0);
        }
        fill(&mut self.gain, &table.gain, -1.0);
        for column in [&mut self.reduced, &mut self.ratio, &mut self.slope] {
            column.resize(padded, 0.0);
        }
    }

    /// Computes the reduced gains at `y`; returns the sum of the positive ones, and what their columns use.
    fn price(&mut self, y: &[f64; ROWS]) -> (f64, [f64; ROWS]) {
        let mut gained = [0.0; LANES];
        let mut used = [[0.0; LANES]; ROWS];
        for (group, reduced) in self.reduced.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let parts = group_of(&self.part, group);
            let mut gain = self.gain.as_chunks::<LANES>().0[group];
            for row in 0..ROWS {
                for lane in 0..LANES {
                    gain[lane] -= y[row] * parts[row][lane];
                }
            }
            for lane in 0..LANES {
                gained[lane] += gain[lane].max(0.0);
            }
            for row in 0..ROWS {
                for lane in 0..LANES {
                    used[row][lane] += if gain[lane] > 0.0 { parts[row][lane] } else { 0.0 };
                }
            }
            *reduced = gain;
        }
        (gained.iter().sum(), used.map(|lanes| lanes.iter().sum()))
    }

    /// What is left when basic columns are not counted as taken: the sign of their reduced gain is a rounding error.
    fn without_basics(&self, basis: &Basis, mut left: [f64; ROWS]) -> [f64; ROWS] {
        for &basic in basis.basic.iter().filter(|&&basic| basic < self.gain.len()) {
            if self.reduced[basic] > 0.0 {
                for (left, part) in left.iter_mut().zip(&self.part) {
                    *left += part[basic];
                }
            }
        }
        left
    }

    fn column(&self, place: usize) -> [f64; ROWS] {
        let columns = self.gain.len();
        std::array::from_fn(|row| {
            if place < columns { self.part[row][place] } else { f64::from(place - columns == row) }
        })
    }

    /// The entering variable and the step length, by the bound-flipping ratio test: the step ends where the flips on
    /// the way have compensated the violation.
    fn entering(&mut self, basis: &Basis, leaving: &Leaving, y: &[f64; ROWS]) -> Option<(usize, f64)> {
        let columns = self.gain.len();
        self.find_breaks(&leaving.direction);
        // Basic columns cannot enter, and the leaving one lies on its own direction.
        for &basic in basis.basic.iter().filter(|&&basic| basic < columns) {
            self.ratio[basic] = f64::INFINITY;
        }
        // A slack has no second bound to flip to: the nearest one ends the step.
        let is_basic = |row: usize| basis.basic.contains(&(columns + row));
        let slack = (0..ROWS)
            .filter(|&row| !is_basic(row) && leaving.direction[row] < -ZERO)
            .map(|row| (columns + row, y[row] / -leaving.direction[row]))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let end = slack.map_or(f64::INFINITY, |(_, ratio)| ratio);
        self.column_at(leaving.violation, end).or(slack)
    }

    fn find_breaks(&mut self, direction: &[f64; ROWS]) {
        let ratios = self.ratio.as_chunks_mut::<LANES>().0;
        let slopes = self.slope.as_chunks_mut::<LANES>().0;
        for (group, reduced) in self.reduced.as_chunks::<LANES>().0.iter().enumerate() {
            let parts = group_of(&self.part, group);
            let mut change = [0.0; LANES];
            for row in 0..ROWS {
                for lane in 0..LANES {
                    change[lane] += direction[row] * parts[row][lane];
                }
            }
            for lane in 0..LANES {
                change[lane] *= 1.0_f64.copysign(reduced[lane]);
            }
            // Separate loops, or the compiler branches around the division.
            let mut ratio = [0.0; LANES];
            for lane in 0..LANES {
                ratio[lane] = reduced[lane].abs() / change[lane];
            }
            for lane in 0..LANES {
                ratios[group][lane] = if change[lane] > ZERO { ratio[lane] } else { f64::INFINITY };
            }
            for lane in 0..LANES {
                slopes[group][lane] = change[lane].max(0.0);
            }
        }
    }

    /// The column at whose breakpoint the violation is compensated; `None` if `end` comes first.
    ///
    /// Narrows the interval by interpolated guesses, then sorts the breakpoints that are left in it.
    fn column_at(&mut self, violation: f64, end: f64) -> Option<(usize, f64)> {
        let (mut low, mut high) = ((f64::NEG_INFINITY, 0.0), (end, f64::INFINITY));
        let mut guess = end;
        if end.is_infinite() {
            guess = self.middle() * 0.5;
        }
        for _ in 0..GUESSES {
            let slope = self.slope_upto(guess);
            if slope >= violation {
                high = (guess, slope);
            } else if guess < end {
                low = (guess, slope);
            } else {
                return None;
            }
            let from = low.0.max(0.0);
            guess = if high.1.is_finite() {
                from + (high.0 - from) * (violation - low.1) / (high.1 - low.1)
            } else {
                guess * 2.0
            };
            if !(guess > low.0 && guess < high.0) {
                break;
            }
        }
        self.breaks.clear();
        for (group, ratio) in self.ratio.as_chunks::<LANES>().0.iter().enumerate() {
            let is_between: [bool; LANES] =
                std::array::from_fn(|lane| (ratio[lane] > low.0) & (ratio[lane] <= high.0));
            let mut hits = bits(is_between);
            while hits != 0 {
                let column = group * LANES + hits.trailing_zeros() as usize;
                hits &= hits - 1;
                let (ratio, slope) = (self.ratio[column], self.slope[column]);
                if ratio.is_finite() {
                    self.breaks.push(Break { ratio, slope, column });
                }
            }
        }
        self.breaks.sort_unstable_by(|a, b| a.ratio.total_cmp(&b.ratio));
        let mut left = violation - low.1;
        let found = self.breaks.iter().find(|each| {
            left -= each.slope;
            left <= 0.0
        });
        found.map(|found| (found.column, found.ratio))
    }

    /// The mean of the ratios, weighted by slope.
    fn middle(&self) -> f64 {
        let (mut weighed, mut weight) = ([0.0; LANES], [0.0; LANES]);
        for (ratio, slope) in self.ratio.as_chunks::<LANES>().0.iter().zip(self.slope.as_chunks::<LANES>().0)
        {
            for lane in 0..LANES {
                // Where the ratio is infinite the slope is zero.
                weighed[lane] += ratio[lane].min(f64::MAX) * slope[lane];
                weight[lane] += slope[lane];
            }
        }
        weighed.iter().sum::<f64>() / weight.iter().sum::<f64>()
    }

    fn slope_upto(&self, most: f64) -> f64 {
        let mut sum = [0.0; LANES];
        for (ratio, slope) in self.ratio.as_chunks::<LANES>().0.iter().zip(self.slope.as_chunks::<LANES>().0)
        {
            for lane in 0..LANES {
                sum[lane] += if ratio[lane] <= most { slope[lane] } else { 0.0 };
            }
        }
        sum.iter().sum()
    }
}

/// Which lanes are set.
fn bits(lanes: [bool; LANES]) -> u32 {
    (0..LANES).fold(0, |bits, lane| bits | u32::from(lanes[lane]) << lane)
}

fn group_of(columns: &[Vec<f64>; ROWS], group: usize) -> [&[f64; LANES]; ROWS] {
    std::array::from_fn(|row| &columns[row].as_chunks::<LANES>().0[group])
}

impl Basis {
    fn of_slacks(columns: usize) -> Self {
        Self {
            basic: std::array::from_fn(|row| columns + row),
            inverse: std::array::from_fn(|row| std::array::from_fn(|other| f64::from(row == other))),
        }
    }

    /// The leaving row by dual steepest edge: the largest violation relative to the Euclidean norm of its row of the
    /// inverse; `None` if the basis is primal feasible.
    fn leaving(&self, left: &[f64; ROWS], columns: usize) -> Option<Leaving> {
        let mut most = 0.0;
        let mut found = None;
        for (line, (inverse, &basic)) in self.inverse.iter().zip(&self.basic).enumerate() {
            let at: f64 = inverse.iter().zip(left).map(|(entry, left)| entry * left).sum();
            let is_above = basic < columns && at > 0.5;
            let (violation, sign) = if is_above { (at - 1.0, -1.0) } else { (-at, 1.0) };
            let length: f64 = inverse.iter().map(|entry| entry * entry).sum();
            if violation > ZERO && violation * violation / length > most {
                most = violation * violation / length;
                found = Some(Leaving { line, violation, direction: inverse.map(|entry| sign * entry) });
            }
        }
        found
    }

    /// A column in terms of the basis.
    fn entries(&self, column: &[f64; ROWS]) -> [f64; ROWS] {
        self.inverse.map(|line| line.iter().zip(column).map(|(a, b)| a * b).sum())
    }

    /// Makes a column basic in row `line` of the inverse.
    fn pivot(&mut self, line: usize, enters: usize, column: &[f64; ROWS]) {
        let entries = self.entries(column);
        let scaled = self.inverse[line].map(|entry| entry / entries[line]);
        for (inverse, entry) in self.inverse.iter_mut().zip(entries) {
            for (to, scaled) in inverse.iter_mut().zip(scaled) {
                *to -= entry * scaled;
            }
        }
        self.inverse[line] = scaled;
        self.basic[line] = enters;
    }
}
