//! Measures one solver on one instance.

use std::time::{Duration, Instant};

use hedgerow_sim::generators::Family;
use hedgerow_solver::check::{CheckError, check};
use hedgerow_solver::{Answer, Budget, Exact, Instance, Policy};
use serde::Serialize;

use super::cp_sat::{self, CpSat};
use crate::commands::solver::{Limits, Solver};

/// The largest instance for brute force, whose time doubles with each further request.
pub(super) const BRUTE_FORCE_REQUESTS_MAX: usize = 20;

/// Repetitions end after this time; longer measurements are hardly disturbed by other work on the machine.
const REPEAT_FOR: Duration = Duration::from_millis(100);

/// The limits of one measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) time_limit: Duration,
    pub(super) repeat: u32,
}

/// The result of one solver on one instance.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) chosen: Vec<usize>,
    pub(super) value: u128,
    pub(super) bound: u128,
    /// Tree nodes, where the solver counts them.
    pub(super) nodes: Option<u64>,
    pub(super) time: Duration,
    /// The part of it that a peer spent in its own search, where reported.
    pub(super) search: Option<Duration>,
}

/// A solver to compare.
pub(super) enum Contender {
    Ours(Solver),
    /// Our exact solver, reusing its memory between calls as a server does.
    Exact(Box<Exact>),
    /// The same, warm-started with the answer to the previous queue, after one departure and one arrival.
    Again(Box<Exact>),
    CpSat(CpSat),
}

/// The name of [`Contender::Again`].
const AGAIN: &str = "exact-again";

impl Contender {
    /// Its name in tables.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Ours(solver) => solver.to_string(),
            Self::Exact(_) => Policy::Exact.to_string(),
            Self::Again(_) => AGAIN.to_owned(),
            Self::CpSat(_) => cp_sat::NAME.to_owned(),
        }
    }

    /// The version of OR-tools, if this is CP-SAT.
    pub(super) fn peer_version(&self) -> Option<String> {
        match self {
            Self::Ours(_) | Self::Exact(_) | Self::Again(_) => None,
            Self::CpSat(cp_sat) => Some(cp_sat.version().to_owned()),
        }
    }

    /// Whether it is the reference that all others are compared with.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Whether it is practical for this many requests.
    pub(super) fn can_take(&self, requests: usize) -> bool {
        !matches!(self, Self::Ours(Solver::Policy(Policy::BruteForce)))
            || requests <= BRUTE_FORCE_REQUESTS_MAX
    }

    /// Solves repeatedly until the time is stable; returns the first run's answer and the least time.
    /// `before` is the instance of the previous queue.
    pub(super) fn measure(
        &mut self,
        instance: &Instance,
        before: &Instance,
        effort: Effort,
    ) -> anyhow::Result<Measured> {
        let mut measured = self.solve(instance, before, effort.time_limit)?;
        let mut spent = measured.time;
        for _ in 1..effort.repeat {
            if spent >= REPEAT_FOR || measured.is_out_of_time(effort) {
                break;
            }
            let again = self.solve(instance, before, effort.time_limit)?;
            spent += again.time;
            measured.time = measured.time.min(again.time);
            measured.search = measured.search.min(again.search);
        }
        Ok(measured)
    }

    fn solve(
        &mut self,
        instance: &Instance,
        before: &Instance,
        time_limit: Duration,
    ) -> anyhow::Result<Measured> {
        match self {
            Self::Ours(solver) => {
                let limits = Limits { time: Some(time_limit), nodes: u64::MAX };
                let started = Instant::now();
                let answer = solver.solve(instance, limits)?;
                Ok(Measured::of(answer, started.elapsed()))
            }
            Self::Exact(exact) => Ok(timed(time_limit, |budget| exact.solve(instance, budget))),
            Self::Again(exact) => {
                let first = timed(time_limit, |budget| exact.solve(before, budget));
                // The first request arrived since; all others keep their indices.
                let previous: Vec<usize> = first.chosen.into_iter().filter(|&index| index > 0).collect();
                Ok(timed(time_limit, |budget| exact.solve_again(instance, &previous, budget)))
            }
            // Its time limit was set when it was started.
            Self::CpSat(cp_sat) => cp_sat.solve(instance),
        }
    }
}

fn timed(time_limit: Duration, solve: impl FnOnce(&mut Budget<'_>) -> Answer) -> Measured {
    let started = Instant::now();
    let is_late = || started.elapsed() >= time_limit;
    let answer = solve(&mut Budget::with_stop(u64::MAX, &is_late));
    Measured::of(answer, started.elapsed())
}

/// Returns the instance of the previous queue: in place of the first request it has another, which has left since.
pub(super) fn queue_before(instance: &Instance, gone: &Instance) -> Instance {
    let mut before = instance.clone();
    if let (Some(first), Some(&gone)) = (before.items.first_mut(), gone.items.first()) {
        *first = gone;
    }
    before
}

/// Why a single answer is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("{0}")]
    Batch(#[from] CheckError),
    #[error("the value of the batch is {value}, not {claimed}")]
    Value { claimed: u128, value: u128 },
}

impl Measured {
    fn of(answer: Answer, time: Duration) -> Self {
        let Answer { chosen, value, bound, nodes, .. } = answer;
        Self { chosen, value, bound, nodes: Some(nodes), time, search: None }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.value == self.bound
    }

    /// Whether the time limit ended the search. The answer may still be proven: `dftsp` returns the greedy batch,
    /// which may meet the bound. The threshold is 95 % of the limit, because some solvers stop slightly early.
    pub(super) fn is_out_of_time(&self, effort: Effort) -> bool {
        self.time >= effort.time_limit.mul_f64(0.95)
    }

    /// Checks the batch against the definition.
    pub(super) fn check(&self, instance: &Instance) -> Result<(), Wrong> {
        let value = check(instance, &self.chosen)?;
        if value == self.value { Ok(()) } else { Err(Wrong::Value { claimed: self.value, value }) }
    }
}

/// One line of runs.csv.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) family: &'static str,
    pub(super) requests: usize,
    pub(super) seed: u64,
    pub(super) solver: String,
    pub(super) time_us: f64,
    pub(super) proven: bool,
    pub(super) value: u128,
    pub(super) bound: u128,
    /// The highest value that any solver found.
    pub(super) best_known: u128,
    pub(super) nodes: Option<u64>,
}

impl Run {
    /// Returns the lines of all answers to one instance.
    pub(super) fn all_of(
        family: Family,
        requests: usize,
        seed: u64,
        answers: Vec<(String, Measured)>,
    ) -> impl Iterator<Item = Self> {
        let best_known = answers.iter().map(|(_, measured)| measured.value).max().unwrap_or(0);
        answers.into_iter().map(move |(solver, measured)| Self {
            family: family.name(),
            requests,
            seed,
            solver,
            time_us: measured.time.as_secs_f64() * 1e6,
            proven: measured.is_proven(),
            value: measured.value,
            bound: measured.bound,
            best_known,
            nodes: measured.nodes,
        })
    }
}
