//! Ours: optimal for every instance whose requests finish together, with proof; anytime, with a bound.
//! Where each has its own deadline and only compute binds, it is optimal too (`by_deadline.rs`).
//!
//! Where all finish together, the tightest slack of a batch bounds its compute time. So there is one *pass*
//! for each slack that could be the tightest, over those who can wait as long, and each pass is a knapsack
//! with four limits. Four ideas answer it:
//!
//! - **Prices** (`prices.rs`). What a unit of each limit costs. Any prices prove a bound, in integers, for
//!   all passes at once, since profits add up along the requests in order of slack (`passes.rs`). Good prices
//!   come from the linear relaxation (`simplex.rs`).
//! - **Fixing** (`node.rs`). A request whose profit is above the gap between the bound and what would be a
//!   better batch is as its profit says in every better batch. Mostly few are left undecided.
//! - **Meeting in the middle** (`meet.rs`). The undecided few are looked through by pairs of lists. At the
//!   root of a pass this is also what finds the better batches.
//! - **Best first, then depth first.** The pass with the highest bound goes first; inside a pass, what
//!   fixing and listing leave open is branched on.
//!
//! Prices, profits, bounds and gaps are integers in fixed point, rounded to the safe side, and batches are
//! summed exactly: no comparison that cuts anything depends on floating point.

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

/// The solver, with the room that it works in: one that is kept and asked again allocates nothing new.
#[derive(Default)]
pub struct Exact {
    table: Table,
    best: Best,
    /// What is known of each pass.
    known: Vec<Known>,
    simplex: Simplex,
    meet: Meet,
    /// A node's free requests stand before those decided since the node above it.
    free: Vec<u32>,
    inside: Vec<u32>,
    /// Everybody's profits by the prices that bounded the passes last.
    profits: Vec<i64>,
    /// The free requests of the node that is looked at, with their profits.
    ranked: Vec<(i64, u32)>,
    /// Those of them that are undecided, the least profit or loss first.
    core: Vec<(i64, u32)>,
    /// Those of them of whom it is not sure whether they are taken.
    rest: Vec<(i64, u32)>,
    /// The batch that is being filled.
    filled: Vec<u32>,
    /// The nodes to be looked at, the next one last.
    open: Vec<Open>,
    /// Whether each request of the instance is in the batch to begin with.
    is_in: Vec<bool>,
    /// The prices found last that did not prove enough, in value per unit of each row.
    unit_prices: Vec<[f64; ROWS]>,
    has_asked_greedy: bool,
    /// Where each request has its own deadline.
    program: Program,
    /// Nodes looked at, and sets of departures listed.
    nodes: u64,
}

/// A node that is still to be looked at, with what is to be decided first.
struct Open {
    node: Node,
    decision: Option<(u32, bool)>,
    prices: Option<Prices>,
}

impl Exact {
    /// The best batch of an instance; if the budget ends first, the best found, and a bound.
    ///
    /// Where each request has its own deadline ([`Timing::ByDeadline`]) and something else than compute may
    /// bind, the answer is `greedy`'s with a bound.
    pub fn solve(&mut self, instance: &Instance, budget: &mut Budget<'_>) -> Answer {
        if let Timing::ByDeadline { committed } = &instance.timing {
            return self.solve_by_deadline(instance, committed, budget);
        }
        self.unit_prices.clear();
        self.begin(instance);
        self.run(instance, self.guess(), budget);
        self.answer(instance)
    }

    /// The same for an instance much like the one before: `previous` are the requests of the last answer,
    /// or of any batch that may be good, as indices into this instance. Begins with that batch, and with the
    /// prices that were found last.
    ///
    /// Neither can make the answer wrong: whoever no longer fits is left out, and any prices prove
    /// something. If there was no instance before, the batch alone is the start.
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
        // The budget ended: what was found without a search may be better, and its bound lower.
        let quick = greedy::solve(instance);
        let (better, other) = if quick.value > answer.value { (quick, answer) } else { (answer, quick) };
        Answer { bound: better.bound.min(other.bound), nodes: better.nodes.max(other.nodes), ..better }
    }

    fn answer(&self, instance: &Instance) -> Answer {
        if self.best.value == 0 && self.bound() > 0 {
            // The budget ended before anything was looked at.
            return Answer { nodes: self.nodes, ..greedy::solve(instance) };
        }
        let index = |&item: &u32| self.table.index[item as usize] as usize;
        let chosen = self.best.chosen.iter().map(index).collect();
        Answer { nodes: self.nodes, ..Answer::of(instance, chosen, self.bound()) }
    }

    /// Goes on with the most promising pass until none promises more than the best batch: first its prices,
    /// which may say that another promises more, then its search.
    fn run(&mut self, instance: &Instance, mut next: Option<usize>, budget: &mut Budget<'_>) {
        // Only prices from the time before are likely to do for more than the pass they were made for.
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

    /// Searches a pass to its end, depth first. `false` if the budget ended before.
    fn search(&mut self, instance: &Instance, pass: usize, budget: &mut Budget<'_>) -> bool {
        let node = self.root(pass);
        self.open.clear();
        let prices = self.known[pass].prices;
        self.open.push(Open { node, decision: None, prices: Some(prices) });
        while let Some(open) = self.open.pop() {
            if open.node.bound < self.best.wanted_worth {
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
        self.known[pass].bound = self.best.wanted_worth - 1;
        true
    }
}
