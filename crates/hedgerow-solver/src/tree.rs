//! The search tree of `dftsp` and `brute-force`: depth-first over the number of requests to take of each class, the
//! largest number first.
//!
//! A **node** is one vector of counts for the first classes; each visit counts once, the root included. Both solvers
//! count by this rule, so that their node counts can be compared.

use super::Cuts;
use super::budget::Budget;
use super::instance::Instance;
use super::partial_batch::PartialBatch;
use super::prune::{self, Rule, Rules};

/// An ordered class of interchangeable requests: a batch with `k` of them takes the first `k`.
pub(super) type Class = Vec<usize>;

/// The goal of a walk.
pub(super) enum Goal {
    /// Find any feasible batch of exactly this size.
    Size(usize),
    /// Find the feasible batch with the highest value.
    MostValue,
}

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The whole tree was visited (or safely cut). The batch, if there is one.
    Done(Option<Vec<usize>>),
    /// The budget ran out. The best batch so far, if there is one.
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
    let mut batch = PartialBatch::new(instance);
    // taken[d]: how many of class d this branch takes; its length is the depth of the current node.
    let mut taken: Vec<usize> = Vec::with_capacity(classes.len());
    let mut best: Option<(u128, Vec<usize>)> = None;
    loop {
        if !budget.spend_node() {
            return Walk::OutOfBudget(best.map(|best| best.1));
        }
        counters.nodes += 1;
        let depth = taken.len();
        if let Some(rule) = cut(&batch, goal, rules, &below, depth) {
            counters.cuts.count(rule);
        } else if depth < classes.len() {
            let class = &classes[depth];
            let most = match *goal {
                Goal::Size(size) if rules.too_many => prune::most_to_take(&batch, size, class.len()),
                Goal::Size(_) | Goal::MostValue => class.len(),
            };
            counters.cuts.too_many += (class.len() - most) as u64;
            class[..most].iter().for_each(|&index| batch.push(index));
            taken.push(most);
            continue;
        } else if batch.limit().is_none() {
            match goal {
                Goal::Size(size) if batch.chosen().len() == *size => {
                    return Walk::Done(Some(batch.chosen().to_vec()));
                }
                Goal::Size(_) => {}
                Goal::MostValue => {
                    let value = instance.value_of(batch.chosen());
                    if best.as_ref().is_none_or(|best| value > best.0) {
                        best = Some((value, batch.chosen().to_vec()));
                    }
                }
            }
        }
        // Backtrack to the next branch: one less of the deepest class with a count above 0.
        while taken.last() == Some(&0) {
            taken.pop();
        }
        match taken.last_mut() {
            None => return Walk::Done(best.map(|best| best.1)),
            Some(count) => *count -= 1,
        }
        batch.pop();
    }
}

fn cut(batch: &PartialBatch<'_>, goal: &Goal, rules: Rules, below: &Below, depth: usize) -> Option<Rule> {
    if rules.limit && prune::breaks_a_limit(batch) {
        return Some(Rule::Limit);
    }
    let Goal::Size(size) = *goal else { return None };
    if rules.too_few_left && prune::has_too_few_left(batch, size, below.count[depth]) {
        return Some(Rule::TooFewLeft);
    }
    if rules.too_dear && prune::is_too_costly(batch, size, &below.least[depth]) {
        return Some(Rule::TooCostly);
    }
    None
}

/// For each depth, the number of requests below it and their least need of each resource.
struct Below {
    count: Vec<usize>,
    least: Vec<[u64; 4]>,
}

impl Below {
    fn new(instance: &Instance, classes: &[Class]) -> Self {
        let mut count = vec![0; classes.len() + 1];
        // Zero where no request is left: the rule `too_few_left` applies there.
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
