//! The solvers that a command line can name: the core's policies, and a library's to hold them against.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use hedgerow_solver::{Answer, Budget, Instance, Policy, SolveError, UnknownPolicy};

use crate::hint::hinted;

/// How an instance is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Solver {
    /// As the scheduler does it.
    Policy(Policy),
    /// As a mixed-integer linear program, by a library. Only in builds with the feature `milp`.
    Milp,
}

/// When a search ends at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So long after its start.
    pub(super) time: Option<Duration>,
    /// After so many tree nodes.
    pub(super) nodes: u64,
}

impl Solver {
    /// Solves an instance as files give it: one whose batch finishes together.
    ///
    /// # Errors
    ///
    /// When the instance is too large for the solver, or the solver is not in this build.
    pub(super) fn solve(self, instance: &Instance, limits: Limits) -> anyhow::Result<Answer> {
        match self {
            Self::Policy(policy) => {
                let started = Instant::now();
                let is_late = || limits.time.is_some_and(|limit| started.elapsed() >= limit);
                let mut budget = Budget::with_stop(limits.nodes, &is_late);
                hedgerow_solver::solve(instance, policy, &mut budget).map_err(|error| with_hint(&error))
            }
            #[cfg(feature = "milp")]
            Self::Milp => Ok(super::milp::solve(instance, limits)),
            #[cfg(not(feature = "milp"))]
            Self::Milp => Err(hinted(
                "the solver `milp` is not in this build of hedgerow",
                "build it in: cargo build --release --package hedgerow --features milp",
            )),
        }
    }
}

fn with_hint(error: &SolveError) -> anyhow::Error {
    match error {
        SolveError::TooManyRequests { .. } => hinted(error, "leave some out, or choose `--solver exact`"),
    }
}

impl fmt::Display for Solver {
    /// The name that [`Solver::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => policy.fmt(f),
            Self::Milp => f.write_str("milp"),
        }
    }
}

/// A solver name that nobody knows.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown solver `{name}`; choose one of {}, milp", Policy::NAMES)]
pub(super) struct UnknownSolver {
    name: String,
}

impl FromStr for Solver {
    type Err = UnknownSolver;

    fn from_str(text: &str) -> Result<Self, UnknownSolver> {
        match text {
            "milp" => Ok(Self::Milp),
            _ => text.parse().map(Self::Policy).map_err(|UnknownPolicy { name }| UnknownSolver { name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_solver_is_read_by_the_name_it_shows() {
        for name in ["brute-force", "dftsp", "greedy", "edf", "fifo", "static:3", "none:4", "milp"] {
            assert_eq!(name.parse::<Solver>().unwrap().to_string(), name);
        }
    }

    #[cfg(not(feature = "milp"))]
    #[test]
    fn a_build_without_the_library_says_how_to_get_it() {
        let limits = Limits { time: None, nodes: u64::MAX };
        let error = Solver::Milp.solve(&Instance::default(), limits).unwrap_err();
        assert_eq!(error.to_string(), "the solver `milp` is not in this build of hedgerow");
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_names() {
        let error = "milq".parse::<Solver>().unwrap_err().to_string();
        assert!(error.starts_with("unknown solver `milq`; choose one of brute-force"), "{error}");
        assert!(error.ends_with(", milp"), "{error}");
    }
}
