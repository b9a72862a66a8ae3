//! One node of the search: some requests are in, some are out, the rest is free.

use super::super::budget::Budget;
use super::super::greedy;
use super::super::instance::Instance;
use super::Exact;
use super::best::Best;
use super::meet::Wanted;
use super::passes::Known;
use super::prices::Prices;
use super::table::{ROWS, refill};

/// How many sets are listed of a half. At the root of a pass, where a better batch is likely and all that
/// there is can pay, more and more; further down only to close a node whose rest is small.
const LISTED_AT_ROOT: &[usize] = &[128, 512, 2048, 8192];
const LISTED: &[usize] = &[512];

/// Before lists so long another solver is asked for a batch. That takes longer than most searches, and helps
/// where all profits are alike, so that they do not say whom to take.
const ASK_GREEDY_BEFORE: usize = 8192;

/// No two sets of departures free as much, or lose as much value; sums that go below stop here.
const HOPELESS: i64 = -(1 << 61);

/// What is decided at a node. Who is free and who is in stands in [`Exact`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The first so many of [`Exact::free`] are free.
    pub(super) free: usize,
    /// The first so many of [`Exact::inside`] are in.
    inside: usize,
    /// What they leave of each row.
    left: [i64; ROWS],
    /// What they are worth together.
    value: u128,
    worth: i64,
    /// No batch below the node has more worth.
    pub(super) bound: i64,
}

/// What looking at a node came to.
pub(super) enum Looked {
    /// No batch below it is better than the best found.
    Closed,
    /// It is as decided as it can be; one more request is to be decided both ways.
    Open(Node, u32),
    /// The budget ended before it was known.
    OutOfBudget,
}

impl Exact {
    /// The root of a pass: everyone is free who fits.
    pub(super) fn root(&mut self, pass: usize) -> Node {
        let Known { bound, .. } = self.known[pass];
        let pass = &self.table.passes[pass];
        self.inside.clear();
        self.free.clear();
        self.free.extend((0..pass.len as u32).filter(|&item| self.table.fits(item, &pass.limit)));
        Node { free: self.free.len(), inside: 0, left: pass.limit, value: 0, worth: 0, bound }
    }

    /// Takes as many of [`Exact::filled`] as fit, and nobody is free but the others.
    pub(super) fn take_those_who_fit(&mut self, mut node: Node) -> Node {
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

    /// Decides one more request; `None` if it does not fit.
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
        node.worth += self.table.worth[item as usize];
        self.inside.truncate(node.inside);
        self.inside.push(item);
        node.inside += 1;
        Some(node)
    }

    /// Looks at a node: bounds it, fills it, decides what must be decided, and looks through the rest if
    /// that is small. The prices of a pass are known at its root.
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
        if node.bound >= self.best.wanted_worth {
            self.fill(&node);
        }
        if node.bound < self.best.wanted_worth || !self.fix(&mut node, proven - self.best.wanted_worth) {
            return Looked::Closed;
        }
        let core = &mut self.core[..];
        core.sort_unstable_by_key(|&(profit, item)| (profit.abs(), item));
        let is_root = of_root.is_some();
        for &most in if is_root { LISTED_AT_ROOT } else { LISTED } {
            if most == ASK_GREEDY_BEFORE && !std::mem::replace(&mut self.has_asked_greedy, true) {
                self.offer(&greedy::solve(instance).chosen);
            }
            match self.look_through(&node, &prices, proven, (most, is_root), budget) {
                _ if node.bound < self.best.wanted_worth => return Looked::Closed,
                None => return Looked::OutOfBudget,
                Some(true) => return Looked::Closed,
                Some(false) => {}
            }
        }
        // The dearest of those that the relaxation is least sure of.
        let unsure = self.core.iter().take(ROWS);
        let dearest = unsure.max_by_key(|&&(profit, item)| self.table.worth[item as usize] - profit);
        Looked::Open(node, dearest.expect("a rest of nobody would have been looked through").1)
    }

    /// Prices at which a node's bound is low, from the linear relaxation.
    pub(super) fn relax(&mut self, node: &Node, budget: &mut Budget<'_>) -> Prices {
        let Self { table, simplex, best, .. } = self;
        let limit = std::array::from_fn(|row| (node.left[row] >> table.shift[row]) as f64 / table.whole[row]);
        // A hair less, so that prices which only seem to prove enough are made better still.
        let wanted = best.wanted.saturating_sub(node.value) as f64 * (1.0 - 1e-9);
        let multipliers = simplex.multipliers(table, &self.free[..node.free], &limit, wanted, budget);
        Prices::new(table, &multipliers)
    }

    /// Sets the free requests' profits; gives the bound that the prices prove.
    pub(super) fn rank(&mut self, node: &Node, prices: &Prices) -> i64 {
        let free = self.free[..node.free].iter();
        self.ranked.clear();
        self.ranked.extend(free.map(|&item| (prices.profit(&self.table, item), item)));
        let profits: i64 = self.ranked.iter().map(|&(profit, _)| profit.max(0)).sum();
        node.worth + prices.of_rest(&self.table, &node.left) + profits
    }

    /// Fills a batch in the order of profits, the best first.
    pub(super) fn fill(&mut self, node: &Node) {
        let Self { table, ranked, rest, filled, .. } = self;
        let (mut left, mut value) = (node.left, node.value);
        filled.clear();
        // Whoever is in for sure by the prices is taken first, mostly all of them: no need to sort these.
        let sure = ranked.iter().filter(|&&(profit, _)| profit > table.hair);
        let all_fit = sure.clone().all(|&(_, item)| {
            table.take(item, &mut left);
            left.iter().all(|&left| left >= 0)
        });
        let least = if all_fit { table.hair } else { i64::MAX };
        if all_fit {
            filled.extend(sure.map(|&(_, item)| item));
            value += filled.iter().map(|&item| u128::from(table.value[item as usize])).sum::<u128>();
        } else {
            left = node.left;
        }
        let others = ranked.iter().filter(|&&(profit, item)| profit <= least && table.fits(item, &left));
        refill(rest, others.copied());
        // One number to compare: the largest profit first.
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

    /// Decides whoever would cost more than the gap if decided otherwise, and leaves out whoever no longer
    /// fits. The others become the core. `false` if no better batch can be below.
    ///
    /// Safe because a batch that departs from the profits in one request has at most the bound less that
    /// profit; all in integers.
    fn fix(&mut self, node: &mut Node, gap: i64) -> bool {
        let ranked = std::mem::take(&mut self.ranked);
        let fixed = ranked
            .iter()
            .filter(|&&(profit, _)| profit > gap)
            .try_fold(*node, |node, &(_, item)| self.take(node, item));
        if let Some(fixed) = fixed {
            *node = fixed;
            // The core first, then the others: the nodes above find all of theirs among the first.
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

    /// Looks through the core by sets of departures, in lists no longer than `most`; where that is not all
    /// of it, only if `in_part` is wanted. Whether it was all of it; `None` if the budget ended.
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
            left = left.map(|left| left.max(HOPELESS));
            value += i128::from(table.value[item as usize]);
        }
        let most = most.min((budget.nodes_left() / 2) as usize);
        if most == 0 {
            return None;
        }
        let listed = meet.list(table, core, proven - best.wanted_worth, most);
        self.nodes += meet.len() as u64;
        budget.spend_nodes(meet.len() as u64);
        let is_all = listed == core.len();
        if !is_all && !in_part {
            return Some(false);
        }
        let wanted = |best: &Best| Wanted {
            left,
            gain: (best.wanted as i128 - value).max(i128::from(HOPELESS)) as i64,
            gap: proven - best.wanted_worth,
        };
        let first = wanted(best);
        let is_through = meet.join(table, prices, first, budget, |gain, departed| {
            let value = (value + i128::from(gain)) as u128;
            let core = core.iter().enumerate();
            let taken = core.filter(|&(place, &(profit, _))| (profit > 0) != departed.contains(place));
            let chosen = inside[..node.inside].iter().copied().chain(taken.map(|(_, &(_, item))| item));
            best.take(table, value, chosen);
            wanted(best)
        });
        is_through.then_some(is_all)
    }
}
