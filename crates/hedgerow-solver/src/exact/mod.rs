//! The exact solver: optimal, with proof, for every instance whose requests finish together; anytime, with a bound.
//! Where each request has its own deadline and only compute binds, it is optimal too (`by_deadline.rs`).
//!
//! Where all requests finish together, the tightest slack of a batch bounds its compute time. So there is one *pass*
//! for each slack that could be the tightest, over the requests with at least that slack, and each pass is a knapsack
//! with four limits. It is solved by branch and bound with four techniques:
//!
//! - **Prices** (`prices.rs`): Lagrange multipliers, the cost of a unit of each limit. Any prices prove a bound, in
//!   integers, for all passes at once, since profits add up along the requests in order of slack (`passes.rs`). Good
//!   prices come from the linear relaxation (`simplex.rs`).
//! - **Reduced-cost fixing** (`node.rs`): a request whose absolute profit exceeds the gap, between the bound and the
//!   value of a better batch, is decided by its profit in every better batch. Usually few requests stay undecided.
//! - **Meet in the middle** (`meet.rs`): the undecided requests are searched by pairs of lists. At the root of a pass
//!   this also finds the better batches.
//! - **Best first, then depth first**: the pass with the highest bound is searched first; inside a pass, requests
//!   that fixing and listing leave open are branched on.
//!
//! Prices, profits, bounds and gaps are fixed-point integers, rounded to the safe side, and batches are summed
//! exactly: no comparison that cuts a branch depends on floating point.

mod best;
mod by_deadline;
mod meet;
mod node;
mod passes;
mod prices;
mod simplex;
mod table;

use self::best::Best;
use self::by_deadline::Program;
use self::meet::Meet;
use self::node::{Looked, Node};
use self::passes::Known;
use self::prices::Prices;
use self::simplex::Simplex;
use self::table::{ROWS, Table};
use super::answer::Answer;
use super::budget::Budget;
use super::greedy;
use super::instance::{Demand, Instance, Timing};

/// The exact solver, with its buffers: a solver that is reused allocates nothing new.
#[derive(Default)]
pub struct Exact {
    table: Table,
    best: Best,
    /// The bound and prices of each pass.
    known: Vec<Known>,
    simplex: Simplex,
    meet: Meet,
    /// A node's free requests come before those decided since its parent.
    free: Vec<u32>,
    inside: Vec<u32>,
    /// The profits of all requests by the prices that bounded the passes last.
    profits: Vec<i64>,
    /// The free requests of the current node, with their profits.
    ranked: Vec<(i64, u32)>,
    /// The undecided ones of them, by ascending absolute profit.
    core: Vec<(i64, u32)>,
    /// The free requests that are not certainly taken while a batch is filled.
    rest: Vec<(i64, u32)>,
    /// The batch that is being filled.
    filled: Vec<u32>,
    /// The stack of open nodes, the next one last.
    open: Vec<Open>,
    /// Whether each request of the instance is in the initial batch.
    is_in: Vec<bool>,
    /// The latest prices that left a pass open, in value per unit of each row.
    unit_prices: Vec<[f64; ROWS]>,
    has_tried_greedy: bool,
    /// The dynamic program for instances with deadlines of their own.
    program: Program,
    /// Nodes visited, plus sets of flips listed.
    nodes: u64,
}

/// An open node, with the decision to apply to it first.
struct Open {
    node: Node,
    decision: Option<(u32, bool)>,
    prices: Option<Prices>,
}

impl Exact {
    /// Finds the optimal batch of an instance; if the budget ends first, returns the best found, with a bound.
    ///
    /// Where each request has its own deadline ([`Timing::ByDeadline`]) and another limit than compute may bind, the
    /// answer is that of `greedy`, with a bound.
    pub fn solve(&mut self, instance: &Instance, budget: &mut Budget<'_>) -> Answer {
        if let Timing::ByDeadline { committed } = &instance.timing {
            return self.solve_by_deadline(instance, committed, budget);
        }
        self.unit_prices.clear();
        self.begin(instance);
        self.run(instance, self.guess(), budget);
        self.answer(instance)
    }

    /// Warm start: like [`Exact::solve`], for an instance similar to the previous one. `previous` are the requests of
    /// the last answer, or of any good batch, as indices into this instance. The search begins with that batch and
    /// with the latest prices.
    ///
    /// Neither can make the answer wrong: requests that no longer fit are left out, and any prices prove a bound.
    /// Without a previous instance, the search begins with the batch only.
    pub fn solve_again(
        &mut self,
        instance: &Instance,
        previous: &[usize],
        budget: &mut Budget<'_>,
    ) -> Answer {
        if let Timing::ByDeadline { committed } = &instance.timing {
            return self.solve_by_deadline(instance, committed, budget);
        }
        self.begin(instance);
        self.price_all_as_before();
        self.begin_with(previous);
        if let Some(pass) = self.most_promising() {
            self.fill_root(pass);
        }
        self.run(instance, self.most_promising(), budget);
        self.answer(instance)
    }

    fn solve_by_deadline(
        &mut self,
        instance: &Instance,
        committed: &[Demand],
        budget: &mut Budget<'_>,
    ) -> Answer {
        if !instance.only_deadlines_bind() {
            return greedy::solve(instance);
        }
        let answer = self.program.solve(instance, committed, budget);
        if answer.is_optimal() {
            return answer;
        }
        // The budget ended: the greedy answer may be better, and its bound lower.
        let quick = greedy::solve(instance);
        let (better, other) = if quick.value > answer.value { (quick, answer) } else { (answer, quick) };
        Answer { bound: better.bound.min(other.bound), nodes: better.nodes.max(other.nodes), ..better }
    }

    fn answer(&self, instance: &Instance) -> Answer {
        if self.best.value == 0 && self.bound() > 0 {
            // The budget ended before a node was visited.
            return Answer { nodes: self.nodes, ..greedy::solve(instance) };
        }
        let index = |&item: &u32| self.table.index[item as usize] as usize;
        let chosen = self.best.chosen.iter().map(index).collect();
        Answer { nodes: self.nodes, ..Answer::of(instance, chosen, self.bound()) }
    }

    /// Searches passes in order of their bounds until none exceeds the incumbent. A pass is first priced, which may
    /// make another pass the most promising, and then searched.
    fn run(&mut self, instance: &Instance, mut next: Option<usize>, budget: &mut Budget<'_>) {
        // Only prices of the previous instance are likely to suffice for passes other than their own.
        let is_warm = !self.unit_prices.is_empty();
        while let Some(pass) = next {
            let is_done = if self.known[pass].is_ready || (is_warm && self.prices_leave_few(pass)) {
                self.search(instance, pass, budget)
            } else {
                self.look_at(pass, budget)
            };
            if !is_done {
                return;
            }
            next = self.most_promising();
        }
    }

    /// Searches a pass to its end, depth first. `false` if the budget ended first.
    fn search(&mut self, instance: &Instance, pass: usize, budget: &mut Budget<'_>) -> bool {
        let node = self.root(pass);
        self.open.clear();
        let prices = self.known[pass].prices;
        self.open.push(Open { node, decision: None, prices: Some(prices) });
        while let Some(open) = self.open.pop() {
            if open.node.bound < self.best.wanted_scaled {
                continue;
            }
            let node = match open.decision {
                None => Some(open.node),
                Some((item, is_in)) => self.decide(&open.node, item, is_in),
            };
            match node.map_or(Looked::Closed, |node| self.look(instance, node, open.prices, budget)) {
                Looked::Closed => {}
                Looked::Open(node, item) => {
                    let open = |is_in| Open { node, decision: Some((item, is_in)), prices: None };
                    self.open.extend([open(false), open(true)]);
                }
                Looked::OutOfBudget => {
                    let open = self.open.iter().chain([&open]).map(|open| open.node.bound);
                    self.known[pass].bound = open.max().expect("one is open");
                    return false;
                }
            }
        }
        self.known[pass].bound = self.best.wanted_scaled - 1;
        true
    }
}
