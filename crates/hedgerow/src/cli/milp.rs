//! The problem of an instance file as mixed-integer linear programs, for a library (`microlp`) to solve: a
//! second opinion on our own solvers, made by others' code.
//!
//! ```text
//! maximise Σ value·x   with   Σ need·x ≤ allowed for each of the four sums,   x ∈ {0, 1}      model.md §2
//! ```
//!
//! `min slack` over the batch is not linear. So there is one program for each time that could be what
//! holds the batch: over the requests that can wait so long, with that time as the compute slot. All are
//! relaxed, then those whose bound is above the best batch known are searched, highest bound first. The first
//! batch known is the greedy one, because the library may search long before it has any.
//!
//! **How far it can be trusted.** The library computes in floating point. What it gives is rounded to a set
//! of requests and held against every limit in integers, so a batch is always allowed and its value true.
//! The bound is the library's, rounded up by more than its tolerances ([`whole_bound`]): a bound, and a
//! batch called optimal, are as good as its arithmetic, and no proof in the sense of the other solvers.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hedgerow_solver::check::check;
use hedgerow_solver::{Answer, Budget, Capacity, Cuts, Instance, Item, Policy, Timing, upper_bound};
use microlp::{ComparisonOp, OptimizationDirection, Problem, SolutionStatus, SolveOptions, Variable};

use super::solver::Limits;

/// Solves an instance whose batch finishes together.
///
/// # Panics
///
/// On an instance with a deadline for each, which no instance file has.
pub(super) fn solve(instance: &Instance, limits: Limits) -> Answer {
    assert_eq!(instance.timing, Timing::Together, "only instances of files are solved as programs");
    let mut left = Left::of(limits);
    let mut programs: Vec<Program> = Program::all_of(instance).collect();
    let mut best = start(instance);
    // The roots first: they cost little, and their bounds are much nearer than the simple ones.
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
            break; // Nor can those after it be better.
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

/// The greedy batch, held against the limits like every other.
fn start(instance: &Instance) -> Batch {
    let greedy = hedgerow_solver::solve(instance, Policy::Greedy, &mut Budget::unlimited());
    let chosen = greedy.map_or_else(|_| Vec::new(), |answer| answer.chosen);
    check(instance, &chosen).map_or_else(|_| Batch::default(), |value| Batch { chosen, value })
}

/// What may still be spent.
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

/// How far a program is searched.
#[derive(Clone, Copy)]
enum Depth {
    /// Only its linear relaxation.
    Root,
    /// To the end, or to a limit.
    Tree,
}

/// An allowed batch; the empty one by default.
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

/// A program's outcome: no batch of the program is worth more than the bound.
struct Found {
    batch: Batch,
    bound: u128,
}

/// The batches that are held to one time.
struct Program<'a> {
    whole: &'a Instance,
    /// The compute slot of this program.
    time_us: u64,
    /// No batch of it is worth more.
    bound: u128,
}

impl<'a> Program<'a> {
    /// Every allowed batch is in one of these.
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

    /// The requests that can wait so long and fit by themselves.
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
                // Its arithmetic failed, and it says so.
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
                // The batch is real, so where rounding made it worth more than the bound, the bound errs.
                Ok(value) => return Found { batch: Batch { chosen, value }, bound: bound.max(value) },
                Err(_) if solution.status() != SolutionStatus::Optimal || left.is_nothing() => {
                    return Found { batch: Batch::default(), bound };
                }
                // Kept within the library's tolerance, but not in integers. No allowed batch holds all of
                // these, which is a row without large numbers.
                Err(_) => {
                    let most = taken.len() as f64 - 1.0;
                    let row = taken.into_iter().map(|(_, variable)| (variable, 1.0));
                    problem.add_constraint(row, ComparisonOp::Le, most);
                }
            }
        }
    }
}

/// The time to which a request holds its batch: its slack, or the compute slot where that is shorter.
fn held_to_us(instance: &Instance, item: &Item) -> u64 {
    item.slack_us.min(instance.capacity.compute_us)
}

fn needs(item: &Item) -> [u64; 4] {
    [item.uplink, item.downlink, item.memory, item.compute_us]
}

fn allowed(capacity: &Capacity) -> [u64; 4] {
    [capacity.uplink, capacity.downlink, capacity.memory, capacity.compute_us]
}

/// By what a row is divided so that its numbers stay below 2²⁰, which is the range the library asks for. A
/// power of two, so that dividing rounds nothing.
fn scale(allowed: u64) -> f64 {
    let bits = u64::BITS - allowed.leading_zeros();
    2_f64.powi(bits.saturating_sub(20).cast_signed())
}

/// The most that a whole value can be under a bound in floating point.
///
/// The library leaves nodes alone that are less than 1e-9 better, absolute and relative, and its linear
/// programs are exact to some 1e-7. The margins here are wider and cost nothing as long as values add up
/// to less than about 400 million; beyond, the bound is above the value and nothing is called optimal.
fn whole_bound(bound: f64) -> u128 {
    (bound + 1e-4 + 2e-9 * bound.abs()).floor().max(0.0) as u128
}

#[cfg(test)]
#[path = "milp_tests.rs"]
mod tests;
