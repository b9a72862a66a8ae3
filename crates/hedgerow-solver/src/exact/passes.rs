//! The passes: what is known of each, and by which prices.

use super::super::budget::Budget;
use super::super::instance::Instance;
use super::Exact;
use super::prices::Prices;
use super::table::{ROWS, refill};

/// So few undecided requests are looked through faster than better prices are found.
const FEW: usize = 32;

/// Of so many passes the prices are kept for the next instance.
const KEPT: usize = 4;

/// What is known of a pass.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// No batch of it has more worth.
    pub(super) bound: i64,
    /// The prices that prove it.
    pub(super) prices: Prices,
    /// Whether these are good enough to search with.
    pub(super) is_ready: bool,
}

impl Exact {
    /// Reads an instance and forgets the one before, but for its prices.
    pub(super) fn begin(&mut self, instance: &Instance) {
        self.table.read(instance);
        self.best.clear(&self.table);
        self.nodes = 0;
        self.has_asked_greedy = false;
        self.known.clear();
        let (mut begin, mut worth) = (0, 0);
        for pass in &self.table.passes {
            worth += self.table.worth[begin..pass.len].iter().sum::<i64>();
            begin = pass.len;
            self.known.push(Known { bound: worth, prices: Prices::default(), is_ready: false });
        }
    }

    /// Takes an allowed batch as the best if it is.
    pub(super) fn offer(&mut self, batch: &[usize]) {
        self.find(batch);
        let value = self.filled.iter().map(|&item| u128::from(self.table.value[item as usize])).sum();
        if value > self.best.value {
            self.best.take(&self.table, value, self.filled.iter().copied());
        }
    }

    /// Finds a batch of the instance in the table, into [`Exact::filled`].
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

    /// Takes a batch as the best so far, without whoever does not fit and with whoever else does.
    pub(super) fn begin_with(&mut self, batch: &[usize]) {
        self.find(batch);
        let Some(&tightest) = self.filled.last() else { return };
        // Whoever is as patient as the batch takes part; those of the batch first.
        let pass = self.table.passes.partition_point(|pass| pass.len <= tightest as usize);
        let root = self.root(pass);
        let node = self.take_those_who_fit(root);
        let prices = self.known[pass].prices;
        self.rank(&node, &prices);
        self.fill(&node);
    }

    /// The pass that seems to hold the best batch, while no prices are known.
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
            // Half of what all need serves more than half of them, since the modest come first.
            let promise = known.bound as f64 * part.sqrt();
            if promise > most {
                (most, guess) = (promise, Some(number));
            }
        }
        guess
    }

    /// The pass with the highest bound, if that is above the best batch.
    pub(super) fn most_promising(&self) -> Option<usize> {
        let known = self.known.iter().enumerate().filter(|(_, known)| known.bound >= self.best.wanted_worth);
        known.max_by_key(|&(pass, known)| (known.bound, std::cmp::Reverse(pass))).map(|(pass, _)| pass)
    }

    /// The value that no batch exceeds.
    pub(super) fn bound(&self) -> u128 {
        let most = self.known.iter().map(|known| known.bound).max().unwrap_or(0);
        let value = self.table.scale.most_value(most);
        (value - value % u128::from(self.table.step)).max(self.best.value)
    }

    /// Finds prices for a pass, bounds all passes by them, and fills a batch by them. `false` if the budget
    /// has ended.
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
        if bound >= self.best.wanted_worth {
            if self.unit_prices.len() < KEPT {
                self.unit_prices.push(prices.in_units(&self.table));
            }
            self.fill(&root);
        }
        true
    }

    /// Whether the prices of a pass, though not its own, leave few undecided: then looking through those is
    /// faster than finding better prices.
    pub(super) fn prices_leave_few(&mut self, pass: usize) -> bool {
        let root = self.root(pass);
        let Known { prices, .. } = self.known[pass];
        let gap = self.rank(&root, &prices) - self.best.wanted_worth;
        self.ranked.iter().filter(|&&(profit, _)| profit.abs() <= gap).count() <= FEW
    }

    /// Fills a batch by the prices of a pass.
    pub(super) fn fill_root(&mut self, pass: usize) {
        let root = self.root(pass);
        let Known { prices, .. } = self.known[pass];
        self.rank(&root, &prices);
        self.fill(&root);
    }

    /// Bounds all passes by the prices of the instance before.
    pub(super) fn price_all_as_before(&mut self) {
        for index in 0..self.unit_prices.len() {
            let prices = Prices::of_units(&self.table, &self.unit_prices[index]);
            self.price_all(&prices);
        }
    }

    /// Bounds all passes by some prices: profits add up along the table.
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
