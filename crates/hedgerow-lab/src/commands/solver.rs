//! The solvers that the command line accepts: the scheduler's policies, and a library's to compare them with.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use hedgerow_solver::{Answer, Budget, Instance, Policy, SolveError, UnknownPolicy};
use hedgerow_workload::hint::hinted;

/// How an instance is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Solver {
    /// By one of the scheduler's policies.
    Policy(Policy),
    /// As a mixed-integer linear program, by a library; only in builds with the feature `milp`.
    Milp,
}

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Time since its start.
    pub(super) time: Option<Duration>,
    /// Tree nodes.
    pub(super) nodes: u64,
}

impl Solver {
    /// Solves an instance of a file: one whose requests all finish at the same time.
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

/// An unknown solver name.
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
    fn every_solver_is_parsed_from_its_displayed_name() {
        for name in ["brute-force", "dftsp", "greedy", "edf", "fifo", "static:3", "none:4", "milp"] {
            assert_eq!(name.parse::<Solver>().unwrap().to_string(), name);
        }
    }

    #[cfg(not(feature = "milp"))]
    #[test]
    fn a_build_without_the_milp_feature_reports_it() {
        let limits = Limits { time: None, nodes: u64::MAX };
        let error = Solver::Milp.solve(&Instance::default(), limits).unwrap_err();
        assert_eq!(error.to_string(), "the solver `milp` is not in this build of hedgerow");
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_all_names() {
        let error = "milq".parse::<Solver>().unwrap_err().to_string();
        assert!(error.starts_with("unknown solver `milq`; choose one of brute-force"), "{error}");
        assert!(error.ends_with(", milp"), "{error}");
    }
}
