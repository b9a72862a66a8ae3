//! Stage 2 of 6: the batch scheduler.
//!
//! - takes: a [`View`] of the node: who waits, who runs, what is free; and a [`Budget`]
//! - gives: a [`Plan`]: who is to be served, in which order and each at which precision; and, for each step,
//!   what it runs ([`compose`])
//! - never: reads a clock, draws a random number, hands out a resource or talks to an engine
//!
//! Each question becomes an [`Instance`] (`reduce`); a [`Policy`] answers it ([`solve`]).

mod answer;
mod bound;
mod brute_force;
mod budget;
pub mod check;
mod compose;
mod dftsp;
mod exact;
mod explain;
mod greedy;
mod in_order;
mod instance;
mod load;
mod plan;
mod policy;
mod prune;
mod reduce;
mod timeline;
mod together;
mod traffic;
mod tree;
mod view;

pub use answer::{Answer, binding};
pub use bound::upper_bound;
pub use brute_force::NODE_LIMIT as BRUTE_FORCE_NODE_LIMIT;
pub use budget::Budget;
pub use compose::compose;
pub use dftsp::{is_exact_for as dftsp_is_exact_for, solve as dftsp};
pub use exact::Exact;
pub use explain::{Obstacle, Standing, obstacle, standing};
pub use instance::{Capacity, Demand, Instance, Item, Limit, NUMBER_LIMIT, Timing};
pub use plan::{Plan, PlanReport, Planned, choose};
pub use policy::{Policy, UnknownPolicy};
pub use prune::{Cuts, Rules};
pub use reduce::time_alone;
pub(crate) use reduce::{least_work, slot_needed};
pub use traffic::Traffic;
pub use view::{InFlight, View};

/// Why a solver refuses an instance.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SolveError {
    /// Brute force over so many requests would not end.
    #[error(
        "brute force over {requests} requests would visit more nodes than the limit allows; {most} is the most"
    )]
    TooManyRequests {
        /// How many there are.
        requests: usize,
        /// How many it takes at most.
        most: usize,
    },
}

/// Answers an instance by a policy's rule.
///
/// # Errors
///
/// When the policy is brute force and the instance is too large for it.
pub fn solve(instance: &Instance, policy: Policy, budget: &mut Budget<'_>) -> Result<Answer, SolveError> {
    Ok(match policy {
        Policy::BruteForce => brute_force::solve(instance, budget)?,
        Policy::Dftsp => dftsp::solve(instance, budget, Rules::ALL),
        Policy::Exact => Exact::default().solve(instance, budget),
        Policy::Greedy => greedy::solve(instance),
        Policy::Edf => in_order::edf(instance),
        Policy::Fifo => in_order::fifo(instance),
        Policy::Static { size } => in_order::static_batch(instance, size as usize),
        Policy::None { accelerators } => in_order::none(instance, accelerators as usize),
    })
}

#[cfg(test)]
mod tests;
