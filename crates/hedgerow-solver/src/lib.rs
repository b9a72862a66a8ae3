//! Solvers for the batching problem: which requests to serve together under shared limits and deadlines.
//!
//! - takes: an [`Instance`], a table of integers (`model.md §2`), and a [`Budget`]
//! - gives: an [`Answer`]: the chosen batch, its value, and a bound on the value of any batch
//! - never: depends on a radio, a transformer, a clock or a random number
//!
//! Read [`solve`] first. [`Exact`] is this project's solver, with proof of optimality; [`dftsp`] is the paper's
//! search; the others are baselines. [`check::check`] re-derives feasibility from the definition and shares no code
//! with them.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod answer;
mod bound;
mod brute_force;
mod budget;
pub mod check;
mod dftsp;
mod exact;
mod greedy;
mod in_order;
mod instance;
mod partial_batch;
mod policy;
mod prune;
mod tree;

pub use answer::{Answer, binding};
pub use bound::upper_bound;
pub use brute_force::NODE_LIMIT as BRUTE_FORCE_NODE_LIMIT;
pub use budget::Budget;
pub use dftsp::{is_exact_for as dftsp_is_exact_for, solve as dftsp};
pub use exact::Exact;
pub use instance::{Capacity, Demand, Instance, Item, Limit, NUMBER_LIMIT, Timing};
pub use policy::{Policy, PolicyTraits, UnknownPolicy};
pub use prune::{Cuts, Rules};

/// Why a solver rejects an instance.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SolveError {
    /// The instance has too many requests for brute force.
    #[error(
        "brute force over {requests} requests would visit more nodes than the limit allows; {most} is the most"
    )]
    TooManyRequests {
        /// How many requests it has.
        requests: usize,
        /// The most that brute force takes.
        most: usize,
    },
}

/// Solves an instance by a policy.
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
