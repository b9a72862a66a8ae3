//! The tree that `dftsp` and `brute-force` walk: depth-first over how many requests of each class to
//! take, the largest number first.
//!
//! A **node** is one vector of counts for the first classes; looking at it counts once, the root
//! included. Both solvers count by this one rule, so that their numbers can be compared.

use super::Cuts;
use super::budget::Budget;
use super::instance::Instance;
use super::partial_batch::PartialBatch;
use super::prune::{self, Rule, Rules};

/// Requests that are interchangeable but for an order: whoever takes `k` of them takes the first `k`.
pub(super) type Class = Vec<usize>;

/// What a walk does at a node that it does not cut.
pub(super) enum Goal {
    /// Find any allowed batch of exactly this size.
    Size(usize),
    /// Look at every allowed batch and keep the most valuable.
    MostValue,
}

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The whole tree was seen (or safely cut). The batch, if there is one.
    Done(Option<Vec<usize>>),
    /// The budget ran out.
    OutOfBudget(Option<Vec<usize>>),
}

/// A walk's counters, over all walks of one solve.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) nodes: u64,
    pub(super) cuts: Cuts,
}

/// Walks the tree over `classes`.
pub(super) fn walk(
    instance: &Instance,
    classes: &[Class],
    goal: &Goal,
    rules: Rules,
    budget: &mut Budget<'_>,
    counters: &mut Counters,
) -> Walk {
    let below = Below::new(instance, classes);
    let mut load = PartialBatch::new(instance);
    // taken[d]: how many of class d this branch takes; its length is the depth of the node looked at.
    let mut taken: Vec<usize> = Vec::with_capacity(classes.len());
    let mut best: Option<(u128, Vec<usize>)> = None;
    loop {
        if !budget.spend_node() {
            return Walk::OutOfBudget(best.map(|best| best.1));
        }
        counters.nodes += 1;
        let depth = taken.len();
        if let Some(rule) = cut(&load, goal, rules, &below, depth) {
            counters.cuts.count(rule);
        } else if depth < classes.len() {
            let class = &classes[depth];
            let most = match *goal {
                Goal::Size(size) if rules.too_many => prune::most_to_take(&load, size, class.len()),
                Goal::Size(_) | Goal::MostValue => class.len(),
            };
            counters.cuts.too_many += (class.len() - most) as u64;
            class[..most].iter().for_each(|&index| load.push(index));
            taken.push(most);
            continue;
        } else if load.limit().is_none() {
            match goal {
                Goal::Size(size) if load.chosen().len() == *size => {
                    return Walk::Done(Some(load.chosen().to_vec()));
                }
                Goal::Size(_) => {}
                Goal::MostValue => {
                    let value = instance.value_of(load.chosen());
                    if best.as_ref().is_none_or(|best| value > best.0) {
                        best = Some((value, load.chosen().to_vec()));
                    }
                }
            }
        }
        // On to the next branch: one less of the deepest class that is still taken from.
        while taken.last() == Some(&0) {
            taken.pop();
        }
        match taken.last_mut() {
            None => return Walk::Done(best.map(|best| best.1)),
            Some(count) => *count -= 1,
        }
        load.pop();
    }
}

fn cut(load: &PartialBatch<'_>, goal: &Goal, rules: Rules, below: &Below, depth: usize) -> Option<Rule> {
    if rules.limit && prune::breaks_a_limit(load) {
        return Some(Rule::Limit);
    }
    let Goal::Size(size) = *goal else { return None };
    if rules.too_few_left && prune::has_too_few_left(load, size, below.count[depth]) {
        return Some(Rule::TooFewLeft);
    }
    if rules.too_dear && prune::is_too_dear(load, size, &below.least[depth]) {
        return Some(Rule::TooDear);
    }
    None
}

/// What lies below each depth: how many requests, and the least need of each resource among them.
struct Below {
    count: Vec<usize>,
    least: Vec<[u64; 4]>,
}

impl Below {
    fn new(instance: &Instance, classes: &[Class]) -> Self {
        let mut count = vec![0; classes.len() + 1];
        // Nothing is needed where nothing is left: too few are left there anyway.
        let mut least = vec![[0; 4]; classes.len() + 1];
        for depth in (0..classes.len()).rev() {
            count[depth] = count[depth + 1] + classes[depth].len();
            let needs = classes[depth].iter().map(|&index| instance.items[index].needs());
            let deeper = (count[depth + 1] > 0).then_some(least[depth + 1]);
            least[depth] = needs
                .chain(deeper)
                .reduce(|a, b| std::array::from_fn(|sum| a[sum].min(b[sum])))
                .unwrap_or_default();
        }
        Self { count, least }
    }
}
