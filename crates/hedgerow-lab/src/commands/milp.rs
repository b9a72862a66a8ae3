//! The problem of an instance file as mixed-integer linear programs, solved by a library (`microlp`): an independent
//! check of our own solvers.
//!
//! ```text
//! maximise Σ value·x   with   Σ need·x ≤ allowed for each of the four sums,   x ∈ {0, 1}      model.md §2
//! ```
//!
//! `min slack` over the batch is not linear, so there is one program for each value that it could take: over the
//! requests with at least that slack, with that time as the compute slot. The linear relaxations of all programs are
//! solved first; then branch and bound runs on those whose bound exceeds the incumbent, highest bound first. The
//! first incumbent is the greedy batch, because the library may search long before it finds a batch.
//!
//! **Exactness.** The library computes in floating point. Its solution is rounded to a set of requests and checked
//! against every limit in integers, so a batch is always feasible and its value exact. The bound is the library's,
//! rounded up by more than its tolerances ([`whole_bound`]): a bound, and a claim of optimality, are as good as its
//! arithmetic, and no proof in the sense of the other solvers.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hedgerow_solver::check::check;
use hedgerow_solver::{Answer, Budget, Capacity, Cuts, Instance, Item, Policy, Timing, upper_bound};
use microlp::{ComparisonOp, OptimizationDirection, Problem, SolutionStatus, SolveOptions, Variable};

use super::solver::Limits;

/// Solves an instance whose requests all finish at the same time.
///
/// # Panics
///
/// On an instance with a deadline for each request, which no instance file has.
pub(super) fn solve(instance: &Instance, limits: Limits) -> Answer {
    assert_eq!(instance.timing, Timing::Together, "only instances of files are solved as programs");
    let mut left = Left::of(limits);
    let mut programs: Vec<Program> = Program::all_of(instance).collect();
    let mut best = start(instance);
    // The root relaxations first: they are cheap, and their bounds are much tighter than the simple ones.
    for program in &mut programs {
        if program.bound > best.value && !left.is_nothing() {
            let found = program.solve(&mut left, Depth::Root);
            program.bound = found.bound;
            best = best.or(found.batch);
        }
    }
    programs.sort_by_key(|program| Reverse(program.bound));
    let mut bound = 0;
    for program in programs {
        if program.bound <= best.value {
            break; // The programs after it have no higher bound.
        }
        if left.is_nothing() {
            bound = bound.max(program.bound);
            break;
        }
        let found = program.solve(&mut left, Depth::Tree);
        bound = bound.max(found.bound);
        best = best.or(found.batch);
    }
    let Batch { mut chosen, value } = best;
    chosen.sort_unstable();
    Answer { chosen, value, bound: bound.max(value), nodes: left.nodes_visited, cuts: Cuts::default() }
}

/// Returns the greedy batch, checked against the limits like every other.
fn start(instance: &Instance) -> Batch {
    let greedy = hedgerow_solver::solve(instance, Policy::Greedy, &mut Budget::unlimited());
    let chosen = greedy.map_or_else(|_| Vec::new(), |answer| answer.chosen);
    check(instance, &chosen).map_or_else(|_| Batch::default(), |value| Batch { chosen, value })
}

/// The remaining budget.
struct Left {
    until: Option<Instant>,
    nodes_max: u64,
    nodes_visited: u64,
}

impl Left {
    fn of(limits: Limits) -> Self {
        let until = limits.time.and_then(|time| Instant::now().checked_add(time));
        Self { until, nodes_max: limits.nodes, nodes_visited: 0 }
    }

    fn time(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn is_nothing(&self) -> bool {
        self.nodes_visited >= self.nodes_max || self.time() == Some(Duration::ZERO)
    }

    fn options(&self, depth: Depth) -> SolveOptions {
        let mut options = SolveOptions::default();
        options.time_limit = self.time();
        options.node_limit = Some(match depth {
            Depth::Root => 0,
            Depth::Tree => self.nodes_max - self.nodes_visited,
        });
        options
    }
}

/// The search depth of a program.
#[derive(Clone, Copy)]
enum Depth {
    /// Only the linear relaxation.
    Root,
    /// Branch and bound until it is optimal or a limit is reached.
    Tree,
}

/// A feasible batch; empty by default.
#[derive(Default)]
struct Batch {
    chosen: Vec<usize>,
    value: u128,
}

impl Batch {
    fn or(self, other: Self) -> Self {
        if other.value > self.value { other } else { self }
    }
}

/// The outcome of a program: its best batch, and an upper bound on the value of all its batches.
struct Found {
    batch: Batch,
    bound: u128,
}

/// The subproblem of one compute time: the batches whose requests all have at least that slack.
struct Program<'a> {
    whole: &'a Instance,
    /// The compute slot of this program.
    time_us: u64,
    /// An upper bound on the value of its batches.
    bound: u128,
}

impl<'a> Program<'a> {
    /// Splits the instance into programs; every feasible batch belongs to at least one of them.
    fn all_of(whole: &'a Instance) -> impl Iterator<Item = Self> {
        let times_us: BTreeSet<u64> = whole.items.iter().map(|item| held_to_us(whole, item)).collect();
        times_us.into_iter().map(move |time_us| {
            let mut program = Self { whole, time_us, bound: 0 };
            let items = program.indices().map(|index| whole.items[index]).collect();
            let part = Instance { capacity: program.capacity(), items, timing: Timing::Together };
            program.bound = upper_bound(&part);
            program
        })
    }

    fn capacity(&self) -> Capacity {
        Capacity { compute_us: self.time_us, ..self.whole.capacity }
    }

    /// The requests with enough slack that are individually feasible.
    fn indices(&self) -> impl Iterator<Item = usize> {
        let allowed = allowed(&self.capacity());
        let is_in = move |item: &Item| {
            held_to_us(self.whole, item) >= self.time_us
                && needs(item).iter().zip(allowed).all(|(&need, allowed)| need <= allowed)
        };
        (0..self.whole.items.len()).filter(move |&index| is_in(&self.whole.items[index]))
    }

    fn solve(&self, left: &mut Left, depth: Depth) -> Found {
        let mut problem = Problem::new(OptimizationDirection::Maximize);
        let variables: Vec<(usize, Variable)> = self
            .indices()
            .map(|index| (index, problem.add_binary_var(self.whole.items[index].value as f64)))
            .collect();
        for (sum, allowed) in allowed(&self.capacity()).into_iter().enumerate() {
            let need = |index: usize| needs(&self.whole.items[index])[sum];
            let all: u128 = variables.iter().map(|&(index, _)| u128::from(need(index))).sum();
            if all > u128::from(allowed) {
                let scale = scale(allowed);
                let row = variables.iter().filter(|&&(index, _)| need(index) > 0);
                let row = row.map(|&(index, variable)| (variable, need(index) as f64 / scale));
                problem.add_constraint(row, ComparisonOp::Le, allowed as f64 / scale);
            }
        }
        loop {
            let Ok(outcome) = problem.solve_with(left.options(depth)) else {
                // The library reports a numerical failure.
                return Found { batch: Batch::default(), bound: self.bound };
            };
            let stats = outcome.stats();
            left.nodes_visited = left.nodes_visited.saturating_add(stats.nodes_solved);
            let bound = stats.best_bound.map_or(self.bound, |bound| self.bound.min(whole_bound(bound)));
            let Ok(solution) = outcome.into_solution() else {
                return Found { batch: Batch::default(), bound };
            };
            let taken: Vec<(usize, Variable)> = variables
                .iter()
                .copied()
                .filter(|&(_, variable)| solution.var_value(variable).round() >= 1.0)
                .collect();
            let chosen: Vec<usize> = taken.iter().map(|&(index, _)| index).collect();
            match check(self.whole, &chosen) {
                // The batch is feasible, so where rounding gives it a value above the bound, the bound is wrong.
                Ok(value) => return Found { batch: Batch { chosen, value }, bound: bound.max(value) },
                Err(_) if solution.status() != SolutionStatus::Optimal || left.is_nothing() => {
                    return Found { batch: Batch::default(), bound };
                }
                // Feasible within the library's tolerance, but not in integers. No feasible batch holds all of these
                // requests: a no-good cut, a row without large coefficients.
                Err(_) => {
                    let most = taken.len() as f64 - 1.0;
                    let row = taken.into_iter().map(|(_, variable)| (variable, 1.0));
                    problem.add_constraint(row, ComparisonOp::Le, most);
                }
            }
        }
    }
}

/// The time limit that a request sets for its batch: its slack, or the compute slot where that is shorter.
fn held_to_us(instance: &Instance, item: &Item) -> u64 {
    item.slack_us.min(instance.capacity.compute_us)
}

fn needs(item: &Item) -> [u64; 4] {
    [item.uplink, item.downlink, item.memory, item.compute_us]
}

fn allowed(capacity: &Capacity) -> [u64; 4] {
    [capacity.uplink, capacity.downlink, capacity.memory, capacity.compute_us]
}

/// Returns the divisor that keeps a row's numbers below 2²⁰, the range that the library asks for. It is a power of
/// two, so that the division is exact.
fn scale(allowed: u64) -> f64 {
    let bits = u64::BITS - allowed.leading_zeros();
    2_f64.powi(bits.saturating_sub(20).cast_signed())
}

/// Rounds a floating-point bound to the largest integer value that it allows.
///
/// The library prunes nodes that are less than 1e-9 better, absolute and relative, and its linear programs are
/// exact to about 1e-7. The margins here are wider, and have no effect as long as values add up to less than about
/// 400 million; beyond that the bound stays above the value and no answer is called optimal.
fn whole_bound(bound: f64) -> u128 {
    (bound + 1e-4 + 2e-9 * bound.abs()).floor().max(0.0) as u128
}

#[cfg(test)]
#[path = "milp_tests.rs"]
mod tests;
