//! Meet in the middle over the undecided requests of a node (the core).
//!
//! The sign of its profit decides each undecided request; to *flip* that decision costs the profit's absolute value.
//! A better batch flips a set of requests whose costs add up to no more than the gap. So the core is split into two
//! halves, the sets within the gap are listed for each, and a better batch is a pair of sets, one from each list.
//! Only pairs are checked whose leftovers of two rows could be small enough.

use super::super::budget::Budget;
use super::prices::Prices;
use super::table::{ROWS, Table};

/// Pairs are checked in groups of this size, which compilers turn into vector instructions.
const LANES: usize = 8;

/// The most requests of a half: a set's marks are the bits of a `u64`.
const HALF_MAX: usize = 64;

/// Length of a strip: neighbouring sets by one row, sorted by another.
const STRIP: usize = 64;

/// The two lists, and buffers to sort the second.
#[derive(Default)]
pub(super) struct Meet {
    halves: [Sets; 2],
    strips: Strips,
}

/// A list sorted by one row and divided into strips, each sorted by another row.
#[derive(Default)]
struct Strips {
    by: usize,
    within: usize,
    sets: Sets,
    /// The least use of the first row in each strip.
    least: Vec<i64>,
    order: Vec<(i64, u32)>,
}

/// Sets of flips, as columns with one entry per set.
#[derive(Default)]
struct Sets {
    cost: Vec<i64>,
    /// The change of the use of each row.
    uses: [Vec<i64>; ROWS],
    /// The change of the value.
    gain: Vec<i64>,
    /// The half's requests that the set contains, as bits.
    marks: Vec<u64>,
}

/// The conditions on the flips of a better batch.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// What is left of each row without flips; negative where it is overused.
    pub(super) left: [i64; ROWS],
    /// The value that flips must add.
    pub(super) gain: i64,
    /// The most that flips and leftovers may cost.
    pub(super) gap: i64,
}

/// A set of flips, by position in the core.
#[derive(Clone, Copy)]
pub(super) struct Flips([u64; 2]);

impl Flips {
    pub(super) fn contains(self, place: usize) -> bool {
        place < 2 * HALF_MAX && self.0[place % 2] >> (place / 2) & 1 == 1
    }
}

impl Meet {
    /// Lists the sets within the gap for as many requests of the core, from its start, as possible with lists of at
    /// most `most` sets. Returns the number of these requests.
    pub(super) fn list(&mut self, table: &Table, core: &[(i64, u32)], gap: i64, most: usize) -> usize {
        for half in &mut self.halves {
            half.clear();
            half.push(0, [0; ROWS], 0, 0);
        }
        for (place, &(profit, item)) in core.iter().enumerate() {
            let half = &mut self.halves[place % 2];
            if place / 2 == HALF_MAX || !half.extend(table, profit, item, 1 << (place / 2), gap, most) {
                return place;
            }
        }
        core.len()
    }

    /// The number of sets listed.
    pub(super) fn len(&self) -> usize {
        self.halves[0].len() + self.halves[1].len()
    }

    /// Searches for pairs that overuse no row and add enough value. `found` gets each pair with the value that it
    /// adds, and returns the conditions from then on. `false` if the budget ended first.
    pub(super) fn join(
        &mut self,
        table: &Table,
        prices: &Prices,
        mut wanted: Wanted,
        budget: &mut Budget<'_>,
        mut found: impl FnMut(i64, Flips) -> Wanted,
    ) -> bool {
        let [first, second] = &self.halves;
        self.strips.sort(second, &prices.most_left(table, wanted.gap));
        for a in 0..first.len() {
            if !budget.may_go_on(second.len() / LANES) {
                return false;
            }
            let most: [i64; ROWS] = std::array::from_fn(|row| wanted.left[row] - first.uses[row][a]);
            let most_left = prices.most_left(table, wanted.gap - first.cost[a]);
            let least = std::array::from_fn(|row| most[row].saturating_sub(most_left[row]));
            for range in self.strips.ranges(&least, &most) {
                for place in range.step_by(LANES) {
                    let mut hits = self.strips.sets.hits(place, &most, wanted.gain - first.gain[a]);
                    while hits != 0 {
                        let b = place + hits.trailing_zeros() as usize;
                        hits &= hits - 1;
                        let gain = first.gain[a] + self.strips.sets.gain[b];
                        if gain >= wanted.gain {
                            wanted = found(gain, Flips([first.marks[a], self.strips.sets.marks[b]]));
                            if wanted.gap < 0 {
                                return true;
                            }
                        }
                    }
                }
            }
        }
        true
    }
}

impl Strips {
    /// Copies a list, sorted by the two most selective rows: those with the largest spread of the list relative to
    /// the allowed leftover.
    fn sort(&mut self, sets: &Sets, most_left: &[i64; ROWS]) {
        let selectivity: [f64; ROWS] = std::array::from_fn(|row| {
            let (least, most) = sets.uses[row]
                .iter()
                .fold((i64::MAX, i64::MIN), |(least, most), &uses| (least.min(uses), most.max(uses)));
            (most - least) as f64 / (most_left[row] as f64 + 1.0)
        });
        let mut rows: [usize; ROWS] = std::array::from_fn(|row| row);
        rows.sort_by(|&a, &b| selectivity[b].total_cmp(&selectivity[a]));
        [self.by, self.within, ..] = rows;
        let Self { by, within, sets: to, least, order } = self;
        order.clear();
        order.extend(sets.uses[*by].iter().copied().zip(0..));
        order.sort_unstable();
        least.clear();
        for strip in order.chunks_mut(STRIP) {
            least.push(strip[0].0);
            strip.sort_unstable_by_key(|&(_, set)| (sets.uses[*within][set as usize], set));
        }
        to.clear();
        to.cost.extend(order.iter().map(|&(_, set)| sets.cost[set as usize]));
        to.gain.extend(order.iter().map(|&(_, set)| sets.gain[set as usize]));
        to.marks.extend(order.iter().map(|&(_, set)| sets.marks[set as usize]));
        for (to, from) in to.uses.iter_mut().zip(&sets.uses) {
            to.extend(order.iter().map(|&(_, set)| from[set as usize]));
        }
        // Padding, so that a group may begin at any set.
        for _ in 0..LANES {
            to.push(0, [i64::MAX; ROWS], 0, 0);
        }
    }

    /// The ranges of sets, one per strip, that lie between `least` and `most` in both rows.
    fn ranges(
        &self,
        least: &[i64; ROWS],
        most: &[i64; ROWS],
    ) -> impl Iterator<Item = std::ops::Range<usize>> {
        let len = self.order.len();
        let (least, most) = ([least[self.by], least[self.within]], [most[self.by], most[self.within]]);
        // The last strip that begins before `least` may reach beyond it.
        let from = self.least.partition_point(|&begin| begin < least[0]).saturating_sub(1);
        let to = self.least.partition_point(|&begin| begin <= most[0]);
        (from..to.max(from)).map(move |strip| {
            let begin = strip * STRIP;
            let uses = &self.sets.uses[self.within][begin..(begin + STRIP).min(len)];
            let skipped = uses.partition_point(|&uses| uses < least[1]);
            let upto = uses.partition_point(|&uses| uses <= most[1]);
            begin + skipped..begin + upto.max(skipped)
        })
    }
}

impl Sets {
    fn len(&self) -> usize {
        self.cost.len()
    }

    fn clear(&mut self) {
        self.truncate(0);
    }

    fn truncate(&mut self, len: usize) {
        self.cost.truncate(len);
        self.gain.truncate(len);
        self.marks.truncate(len);
        self.uses.iter_mut().for_each(|uses| uses.truncate(len));
    }

    fn push(&mut self, cost: i64, uses: [i64; ROWS], gain: i64, marks: u64) {
        self.cost.push(cost);
        self.gain.push(gain);
        self.marks.push(marks);
        for (column, uses) in self.uses.iter_mut().zip(uses) {
            column.push(uses);
        }
    }

    /// Adds a copy of each set with one more request flipped, where the gap allows. `false`, with nothing added, if
    /// that would be more than `most` sets.
    fn extend(&mut self, table: &Table, profit: i64, item: u32, mark: u64, gap: i64, most: usize) -> bool {
        let (cost, item) = (profit.abs(), item as usize);
        // A request with positive profit would be taken, so its flip removes it; any other flip adds it.
        let sign = if profit > 0 { -1 } else { 1 };
        let len = self.len();
        for set in 0..len {
            if self.cost[set] + cost > gap {
                continue;
            }
            if self.len() == most {
                self.truncate(len);
                return false;
            }
            let uses = std::array::from_fn(|row| self.uses[row][set] + sign * table.need[row][item]);
            let gain = self.gain[set] + sign * table.value[item] as i64;
            self.push(self.cost[set] + cost, uses, gain, self.marks[set] | mark);
        }
        true
    }

    /// Which of the `LANES` sets from `place` on use no more than `most` and add at least `gain`, as bits.
    fn hits(&self, place: usize, most: &[i64; ROWS], gain: i64) -> u32 {
        let group = |column: &Vec<i64>| -> [i64; LANES] {
            column[place..place + LANES].try_into().expect("the last place is padded")
        };
        let gains = group(&self.gain);
        let mut fits = [true; LANES];
        for lane in 0..LANES {
            fits[lane] = gains[lane] >= gain;
        }
        for (uses, most) in self.uses.iter().zip(most) {
            let uses = group(uses);
            for lane in 0..LANES {
                fits[lane] &= uses[lane] <= *most;
            }
        }
        (0..LANES).fold(0, |hits, lane| hits | u32::from(fits[lane]) << lane)
    }
}
