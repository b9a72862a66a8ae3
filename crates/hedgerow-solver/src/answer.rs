//! What a solver found, and how far it can be trusted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Cuts;
use super::instance::{Instance, Limit};
use super::partial_batch::PartialBatch;

/// A solver's answer: an allowed batch, its value, and the most that any batch could be worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Indices of the chosen requests, ascending.
    pub chosen: Vec<usize>,
    /// Their total value.
    pub value: u128,
    /// No allowed batch is worth more.
    pub bound: u128,
    /// Tree nodes visited; 0 for solvers without a tree.
    pub nodes: u64,
    /// How often each pruning rule cut.
    pub cuts: Cuts,
}

impl Answer {
    /// An answer without a tree behind it.
    pub(super) fn of(instance: &Instance, mut chosen: Vec<usize>, bound: u128) -> Self {
        chosen.sort_unstable();
        let value = instance.value_of(&chosen);
        Self { chosen, value, bound, nodes: 0, cuts: Cuts::default() }
    }

    /// Whether it is proven that no batch is worth more.
    pub fn is_optimal(&self) -> bool {
        self.value == self.bound
    }
}

/// The limit that keeps most of the unchosen requests out of the batch; `None` when each of them could
/// be added, or none is left.
pub fn binding(instance: &Instance, chosen: &[usize]) -> Option<Limit> {
    let mut load = PartialBatch::new(instance);
    chosen.iter().for_each(|&index| load.push(index));
    let is_chosen: BTreeSet<_> = chosen.iter().copied().collect();
    let mut counts = BTreeMap::<Limit, usize>::new();
    for index in (0..instance.items.len()).filter(|index| !is_chosen.contains(index)) {
        if let Some(limit) = load.limit_with(index) {
            *counts.entry(limit).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|&(limit, count)| (count, Reverse(limit))).map(|(limit, _)| limit)
}
