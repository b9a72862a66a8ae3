//! One node of branch and bound: some requests are in, some are out, the others are free.

use super::super::budget::Budget;
use super::super::greedy;
use super::super::instance::Instance;
use super::Exact;
use super::best::Best;
use super::meet::Wanted;
use super::passes::Known;
use super::prices::Prices;
use super::table::{ROWS, refill};

/// The most sets listed per half. At the root of a pass, where a better batch is likely, lists grow step by step;
/// deeper, they are used only to close nodes with a small core.
const LISTED_AT_ROOT: &[usize] = &[128, 512, 2048, 8192];
const LISTED: &[usize] = &[512];

/// The list length before which `greedy` is run for a better incumbent. That takes longer than most searches, and
/// helps where profits are nearly equal and so give no order.
const GREEDY_BEFORE: usize = 8192;

/// Lower clamp of sums: no two sets of flips free as much of a row, or lose as much value.
const FLOOR: i64 = -(1 << 61);

/// The decisions of a node. The free requests and those that are in are stored in [`Exact`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The first `free` entries of [`Exact::free`] are free.
    pub(super) free: usize,
    /// The first `inside` entries of [`Exact::inside`] are in.
    inside: usize,
    /// What they leave of each row.
    left: [i64; ROWS],
    /// Their total value.
    value: u128,
    /// Their total scaled value.
    scaled: i64,
    /// Upper bound on the scaled value of any batch below the node.
    pub(super) bound: i64,
}

/// The outcome of processing a node.
pub(super) enum Looked {
    /// No batch below it is better than the incumbent.
    Closed,
    /// The node must be branched: this request is to be decided both ways.
    Open(Node, u32),
    /// The budget ended first.
    OutOfBudget,
}

impl Exact {
    /// The root of a pass: every request that fits is free.
    pub(super) fn root(&mut self, pass: usize) -> Node {
        let Known { bound, .. } = self.known[pass];
        let pass = &self.table.passes[pass];
        self.inside.clear();
        self.free.clear();
        self.free.extend((0..pass.len as u32).filter(|&item| self.table.fits(item, &pass.limit)));
        Node { free: self.free.len(), inside: 0, left: pass.limit, value: 0, scaled: 0, bound }
    }

    /// Takes as many of [`Exact::filled`] as fit; only the other requests stay free.
    pub(super) fn take_fitting(&mut self, mut node: Node) -> Node {
        for place in 0..self.filled.len() {
            node = self.take(node, self.filled[place]).unwrap_or(node);
        }
        let inside = &self.inside[..node.inside];
        // Both are in the order of the table.
        let mut next = 0;
        self.free.retain(|&item| {
            let is_inside = inside.get(next) == Some(&item);
            next += usize::from(is_inside);
            !is_inside
        });
        node.free = self.free.len();
        node
    }

    /// Decides one more request; `None` if it is to be in and does not fit.
    pub(super) fn decide(&mut self, node: &Node, item: u32, is_in: bool) -> Option<Node> {
        let mut node = *node;
        let place = self.free[..node.free].iter().position(|&free| free == item).expect("it is free");
        node.free -= 1;
        self.free.swap(place, node.free);
        if is_in { self.take(node, item) } else { Some(node) }
    }

    fn take(&mut self, mut node: Node, item: u32) -> Option<Node> {
        if !self.table.fits(item, &node.left) {
            return None;
        }
        self.table.take(item, &mut node.left);
        node.value += u128::from(self.table.value[item as usize]);
        node.scaled += self.table.scaled[item as usize];
        self.inside.truncate(node.inside);
        self.inside.push(item);
        node.inside += 1;
        Some(node)
    }

    /// Processes a node: bounds it, fills a batch, fixes requests by reduced cost, and enumerates the core if that is
    /// small. At the root of a pass, the prices are given.
    pub(super) fn look(
        &mut self,
        instance: &Instance,
        mut node: Node,
        of_root: Option<Prices>,
        budget: &mut Budget<'_>,
    ) -> Looked {
        if !budget.spend_node() {
            return Looked::OutOfBudget;
        }
        self.nodes += 1;
        let prices = of_root.unwrap_or_else(|| self.relax(&node, budget));
        let proven = self.rank(&node, &prices);
        node.bound = node.bound.min(proven);
        if node.bound >= self.best.wanted_scaled {
            self.fill(&node);
        }
        if node.bound < self.best.wanted_scaled || !self.fix(&mut node, proven - self.best.wanted_scaled) {
            return Looked::Closed;
        }
        let core = &mut self.core[..];
        core.sort_unstable_by_key(|&(profit, item)| (profit.abs(), item));
        let is_root = of_root.is_some();
        for &most in if is_root { LISTED_AT_ROOT } else { LISTED } {
            if most == GREEDY_BEFORE && !std::mem::replace(&mut self.has_tried_greedy, true) {
                self.offer(&greedy::solve(instance).chosen);
            }
            match self.look_through(&node, &prices, proven, (most, is_root), budget) {
                _ if node.bound < self.best.wanted_scaled => return Looked::Closed,
                None => return Looked::OutOfBudget,
                Some(true) => return Looked::Closed,
                Some(false) => {}
            }
        }
        // Branch on the request with the highest price among those with the least absolute profit.
        let unsure = self.core.iter().take(ROWS);
        let costliest = unsure.max_by_key(|&&(profit, item)| self.table.scaled[item as usize] - profit);
        Looked::Open(node, costliest.expect("an empty core would have been enumerated").1)
    }

    /// Prices with a low bound for a node, from the linear relaxation.
    pub(super) fn relax(&mut self, node: &Node, budget: &mut Budget<'_>) -> Prices {
        let Self { table, simplex, best, .. } = self;
        let limit = std::array::from_fn(|row| (node.left[row] >> table.shift[row]) as f64 / table.whole[row]);
        // Slightly less, so that prices that only seem to prove enough, by rounding errors, are improved further.
        let wanted = best.wanted.saturating_sub(node.value) as f64 * (1.0 - 1e-9);
        let multipliers = simplex.multipliers(table, &self.free[..node.free], &limit, wanted, budget);
        Prices::new(table, &multipliers)
    }

    /// Computes the free requests' profits, and returns the bound that the prices prove.
    pub(super) fn rank(&mut self, node: &Node, prices: &Prices) -> i64 {
        let free = self.free[..node.free].iter();
        self.ranked.clear();
        self.ranked.extend(free.map(|&item| (prices.profit(&self.table, item), item)));
        let profits: i64 = self.ranked.iter().map(|&(profit, _)| profit.max(0)).sum();
        node.scaled + prices.of_rest(&self.table, &node.left) + profits
    }

    /// Fills a batch greedily, in descending order of profit.
    pub(super) fn fill(&mut self, node: &Node) {
        let Self { table, ranked, rest, filled, .. } = self;
        let (mut left, mut value) = (node.left, node.value);
        filled.clear();
        // Requests with clearly positive profit are taken first; usually all of them fit, so they need no sorting.
        let sure = ranked.iter().filter(|&&(profit, _)| profit > table.tolerance);
        let all_fit = sure.clone().all(|&(_, item)| {
            table.take(item, &mut left);
            left.iter().all(|&left| left >= 0)
        });
        let least = if all_fit { table.tolerance } else { i64::MAX };
        if all_fit {
            filled.extend(sure.map(|&(_, item)| item));
            value += filled.iter().map(|&item| u128::from(table.value[item as usize])).sum::<u128>();
        } else {
            left = node.left;
        }
        let others = ranked.iter().filter(|&&(profit, item)| profit <= least && table.fits(item, &left));
        refill(rest, others.copied());
        // Descending profit, compared as one number.
        rest.sort_unstable_by_key(|&(profit, item)| (i128::from(-profit) << 32) | i128::from(item));
        for &(_, item) in &*rest {
            if table.fits(item, &left) {
                table.take(item, &mut left);
                value += u128::from(table.value[item as usize]);
                filled.push(item);
            }
        }
        if value > self.best.value {
            let chosen = self.inside[..node.inside].iter().chain(&self.filled);
            self.best.take(&self.table, value, chosen.copied());
        }
    }

    /// Reduced-cost fixing: decides every request whose flip would cost more than the gap, and leaves out requests
    /// that no longer fit. The others become the core. `false` if no better batch can be below.
    ///
    /// Safe because a batch that flips one request has at most the bound less the request's absolute profit; all in
    /// integers.
    fn fix(&mut self, node: &mut Node, gap: i64) -> bool {
        let ranked = std::mem::take(&mut self.ranked);
        let fixed = ranked
            .iter()
            .filter(|&&(profit, _)| profit > gap)
            .try_fold(*node, |node, &(_, item)| self.take(node, item));
        if let Some(fixed) = fixed {
            *node = fixed;
            // The core first, then the others: ancestors find all their free requests in their prefix.
            let is_core =
                |&(profit, item): &(i64, u32)| profit.abs() <= gap && self.table.fits(item, &fixed.left);
            refill(&mut self.core, ranked.iter().copied().filter(is_core));
            let others = ranked.iter().filter(|entry| !is_core(entry));
            for (place, &(_, item)) in self.free.iter_mut().zip(self.core.iter().chain(others)) {
                *place = item;
            }
            node.free = self.core.len();
        }
        self.ranked = ranked;
        fixed.is_some()
    }

    /// Enumerates the core by sets of flips, in lists of at most `most` sets; where they do not cover the whole core,
    /// only if `in_part` is set. Returns whether the whole core was covered; `None` if the budget ended.
    fn look_through(
        &mut self,
        node: &Node,
        prices: &Prices,
        proven: i64,
        (most, in_part): (usize, bool),
        budget: &mut Budget<'_>,
    ) -> Option<bool> {
        let Self { table, core, meet, best, inside, .. } = self;
        let (mut left, mut value) = (node.left, node.value as i128);
        for &(_, item) in core.iter().filter(|&&(profit, _)| profit > 0) {
            table.take(item, &mut left);
            left = left.map(|left| left.max(FLOOR));
            value += i128::from(table.value[item as usize]);
        }
        let most = most.min((budget.nodes_left() / 2) as usize);
        if most == 0 {
            return None;
        }
        let listed = meet.list(table, core, proven - best.wanted_scaled, most);
        self.nodes += meet.len() as u64;
        budget.spend_nodes(meet.len() as u64);
        let is_all = listed == core.len();
        if !is_all && !in_part {
            return Some(false);
        }
        let wanted = |best: &Best| Wanted {
            left,
            gain: (best.wanted as i128 - value).max(i128::from(FLOOR)) as i64,
            gap: proven - best.wanted_scaled,
        };
        let first = wanted(best);
        let is_through = meet.join(table, prices, first, budget, |gain, flips| {
            let value = (value + i128::from(gain)) as u128;
            let core = core.iter().enumerate();
            let taken = core.filter(|&(place, &(profit, _))| (profit > 0) != flips.contains(place));
            let chosen = inside[..node.inside].iter().copied().chain(taken.map(|(_, &(_, item))| item));
            best.take(table, value, chosen);
            wanted(best)
        });
        is_through.then_some(is_all)
    }
}
