//! A solver's answer, with its proven bound.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Cuts;
use super::instance::{Instance, Limit};
use super::partial_batch::PartialBatch;

/// A solver's answer: a feasible batch, its value, and an upper bound on the value of any batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Indices of the chosen requests, ascending.
    pub chosen: Vec<usize>,
    /// Their total value.
    pub value: u128,
    /// Upper bound on the value of every feasible batch.
    pub bound: u128,
    /// Tree nodes visited; 0 for solvers without a tree.
    pub nodes: u64,
    /// How often each pruning rule cut.
    pub cuts: Cuts,
}

impl Answer {
    /// The answer of a solver without a tree.
    pub(super) fn of(instance: &Instance, mut chosen: Vec<usize>, bound: u128) -> Self {
        chosen.sort_unstable();
        let value = instance.value_of(&chosen);
        Self { chosen, value, bound, nodes: 0, cuts: Cuts::default() }
    }

    /// Whether the batch is proven optimal: its value equals the bound.
    pub fn is_optimal(&self) -> bool {
        self.value == self.bound
    }
}

/// The limit that most of the unchosen requests would break if added to the batch; `None` when each of them could be
/// added, or there are none.
pub fn binding(instance: &Instance, chosen: &[usize]) -> Option<Limit> {
    let mut batch = PartialBatch::new(instance);
    chosen.iter().for_each(|&index| batch.push(index));
    let is_chosen: BTreeSet<_> = chosen.iter().copied().collect();
    let mut counts = BTreeMap::<Limit, usize>::new();
    for index in (0..instance.items.len()).filter(|index| !is_chosen.contains(index)) {
        if let Some(limit) = batch.limit_with(index) {
            *counts.entry(limit).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|&(limit, count)| (count, Reverse(limit))).map(|(limit, _)| limit)
}
