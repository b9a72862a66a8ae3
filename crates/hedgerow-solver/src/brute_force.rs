//! Brute force over all batches: the tree of `dftsp` with each request a class of its own and no pruning.

use super::answer::Answer;
use super::budget::Budget;
use super::instance::Instance;
use super::prune::Rules;
use super::tree::{self, Goal, Walk};
use super::{SolveError, bound};

/// The most nodes of a tree: 2²⁶, which takes some seconds; larger instances are rejected.
pub const NODE_LIMIT: u64 = 1 << 26;

/// Enumerates all batches. Optimal for every instance unless the budget ends first.
///
/// # Errors
///
/// [`SolveError::TooManyRequests`] when the tree has more than [`NODE_LIMIT`] nodes.
pub(super) fn solve(instance: &Instance, budget: &mut Budget<'_>) -> Result<Answer, SolveError> {
    // 2^(n+1) − 1 nodes.
    let most = NODE_LIMIT.ilog2() as usize - 1;
    let requests = instance.items.len();
    if requests > most {
        return Err(SolveError::TooManyRequests { requests, most });
    }
    let classes: Vec<_> = (0..requests).map(|index| vec![index]).collect();
    let mut counters = tree::Counters::default();
    let walk = tree::walk(instance, &classes, &Goal::MostValue, Rules::NONE, budget, &mut counters);
    let mut answer = match walk {
        Walk::Done(chosen) => {
            let chosen = chosen.unwrap_or_default();
            let value = instance.value_of(&chosen);
            Answer::of(instance, chosen, value)
        }
        Walk::OutOfBudget(chosen) => {
            Answer::of(instance, chosen.unwrap_or_default(), bound::upper_bound(instance))
        }
    };
    answer.nodes = counters.nodes;
    Ok(answer)
}
