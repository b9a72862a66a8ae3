//! The passes: their bounds and prices, and the warm start.

use super::super::budget::Budget;
use super::super::instance::Instance;
use super::Exact;
use super::prices::Prices;
use super::table::{ROWS, refill};

/// Up to this many undecided requests, enumeration is faster than finding better prices.
const FEW: usize = 32;

/// The most passes whose prices are stored for the next instance.
const PRICES_KEPT: usize = 4;

/// The bound and prices of a pass.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Upper bound on the scaled value of its batches.
    pub(super) bound: i64,
    /// The prices that prove it.
    pub(super) prices: Prices,
    /// Whether the prices were computed for this pass, so that it can be searched.
    pub(super) is_ready: bool,
}

impl Exact {
    /// Reads an instance, and discards the previous one except for its prices.
    pub(super) fn begin(&mut self, instance: &Instance) {
        self.table.read(instance);
        self.best.clear(&self.table);
        self.nodes = 0;
        self.has_tried_greedy = false;
        self.known.clear();
        let (mut begin, mut scaled) = (0, 0);
        for pass in &self.table.passes {
            scaled += self.table.scaled[begin..pass.len].iter().sum::<i64>();
            begin = pass.len;
            self.known.push(Known { bound: scaled, prices: Prices::default(), is_ready: false });
        }
    }

    /// Makes a feasible batch the incumbent if it is better.
    pub(super) fn offer(&mut self, batch: &[usize]) {
        self.find(batch);
        let value = self.filled.iter().map(|&item| u128::from(self.table.value[item as usize])).sum();
        if value > self.best.value {
            self.best.take(&self.table, value, self.filled.iter().copied());
        }
    }

    /// Translates a batch of the instance to rows of the table, into [`Exact::filled`].
    fn find(&mut self, batch: &[usize]) {
        let Self { table, is_in, filled, .. } = self;
        is_in.clear();
        is_in.resize(table.index.iter().max().map_or(0, |&last| last as usize + 1), false);
        for &index in batch {
            if let Some(is_in) = is_in.get_mut(index) {
                *is_in = true;
            }
        }
        let places = table.index.iter().zip(0..).filter(|&(&index, _)| is_in[index as usize]);
        refill(filled, places.map(|(_, place)| place));
    }

    /// Makes a batch the incumbent, without its requests that do not fit, and filled up with others that do.
    pub(super) fn begin_with(&mut self, batch: &[usize]) {
        self.find(batch);
        let Some(&tightest) = self.filled.last() else { return };
        // The pass contains all requests with at least the batch's tightest slack; the batch's own go first.
        let pass = self.table.passes.partition_point(|pass| pass.len <= tightest as usize);
        let root = self.root(pass);
        let node = self.take_fitting(root);
        let prices = self.known[pass].prices;
        self.rank(&node, &prices);
        self.fill(&node);
    }

    /// The pass with the highest estimated value, while no prices are known.
    pub(super) fn guess(&self) -> Option<usize> {
        let (mut used, mut begin) = ([0; ROWS], 0);
        let (mut most, mut guess) = (-1.0, None);
        for (number, (pass, known)) in self.table.passes.iter().zip(&self.known).enumerate() {
            for (used, coarse) in used.iter_mut().zip(&self.table.coarse) {
                *used += coarse[begin..pass.len].iter().sum::<i64>();
            }
            begin = pass.len;
            let part = (0..ROWS)
                .map(|row| (pass.limit[row] >> self.table.shift[row]) as f64 / used[row].max(1) as f64)
                .fold(1.0, f64::min);
            // Half of the total need serves more than half of the requests, since cheap ones are taken first.
            let estimate = known.bound as f64 * part.sqrt();
            if estimate > most {
                (most, guess) = (estimate, Some(number));
            }
        }
        guess
    }

    /// The pass with the highest bound, if that exceeds the incumbent.
    pub(super) fn most_promising(&self) -> Option<usize> {
        let known = self.known.iter().enumerate().filter(|(_, known)| known.bound >= self.best.wanted_scaled);
        known.max_by_key(|&(pass, known)| (known.bound, std::cmp::Reverse(pass))).map(|(pass, _)| pass)
    }

    /// Upper bound on the value of any batch.
    pub(super) fn bound(&self) -> u128 {
        let most = self.known.iter().map(|known| known.bound).max().unwrap_or(0);
        let value = self.table.scale.most_value(most);
        (value - value % u128::from(self.table.step)).max(self.best.value)
    }

    /// Computes prices for a pass, bounds all passes by them, and fills a batch by them. `false` if the budget has
    /// ended.
    pub(super) fn look_at(&mut self, pass: usize, budget: &mut Budget<'_>) -> bool {
        if !budget.spend_node() {
            return false;
        }
        self.nodes += 1;
        let root = self.root(pass);
        let prices = self.relax(&root, budget);
        self.price_all(&prices);
        let bound = self.rank(&root, &prices).min(self.known[pass].bound);
        self.known[pass] = Known { bound, prices, is_ready: true };
        if bound >= self.best.wanted_scaled {
            if self.unit_prices.len() < PRICES_KEPT {
                self.unit_prices.push(prices.in_units(&self.table));
            }
            self.fill(&root);
        }
        true
    }

    /// Whether prices computed for another pass leave few requests of this one undecided: then enumeration is faster
    /// than computing better prices.
    pub(super) fn prices_leave_few(&mut self, pass: usize) -> bool {
        let root = self.root(pass);
        let Known { prices, .. } = self.known[pass];
        let gap = self.rank(&root, &prices) - self.best.wanted_scaled;
        self.ranked.iter().filter(|&&(profit, _)| profit.abs() <= gap).count() <= FEW
    }

    /// Fills a batch by the prices of a pass.
    pub(super) fn fill_root(&mut self, pass: usize) {
        let root = self.root(pass);
        let Known { prices, .. } = self.known[pass];
        self.rank(&root, &prices);
        self.fill(&root);
    }

    /// Bounds all passes by the prices of the previous instance.
    pub(super) fn price_all_as_before(&mut self) {
        for index in 0..self.unit_prices.len() {
            let prices = Prices::of_units(&self.table, &self.unit_prices[index]);
            self.price_all(&prices);
        }
    }

    /// Bounds all passes by given prices: a pass's profits are a prefix sum over the table.
    fn price_all(&mut self, prices: &Prices) {
        prices.profits(&self.table, &mut self.profits);
        let (mut begin, mut profits) = (0, 0);
        for (pass, known) in self.table.passes.iter().zip(&mut self.known) {
            profits += self.profits[begin..pass.len].iter().map(|&profit| profit.max(0)).sum::<i64>();
            begin = pass.len;
            let bound = profits + prices.of_rest(&self.table, &pass.limit);
            if bound < known.bound {
                *known = Known { bound, prices: *prices, ..*known };
            }
        }
    }
}
