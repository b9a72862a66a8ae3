//! The optimal choice where each request has its own deadline and only compute time binds: the Lawler-Moore dynamic
//! program over undominated states.
//!
//! Requests and committed work are processed in order of slack. A *state* is a choice among the requests so far that
//! meets the deadlines so far, given by its total work and its value. A state with no less value and no more work
//! than another dominates it, so only the Pareto frontier is stored: at most one state for each value, and with equal
//! values of the requests at most one for each number of requests. The state of the last frontier with the highest
//! value is optimal.
//!
//! The budget is spent on states. When it ends, the remaining requests are not chosen from; the bound then adds their
//! total value to the highest value so far.

use super::super::answer::Answer;
use super::super::budget::Budget;
use super::super::instance::{Demand, Instance, Item};

/// How many states count as one node of the budget.
const STATES_PER_NODE: usize = 256;
/// The marker of no request, in the initial state.
const NO_REQUEST: u32 = u32::MAX;

/// A choice among the requests so far.
#[derive(Clone, Copy)]
struct State {
    work_us: u64,
    value: u128,
    /// The last request chosen, as an index into [`Program::trail`].
    last: u32,
}

/// The dynamic program, with buffers that are reused between calls.
#[derive(Default)]
pub(super) struct Program {
    frontier: Vec<State>,
    merged: Vec<State>,
    /// Every choice made: the request, and the index of the choice before it.
    trail: Vec<(u32, u32)>,
    /// Requests and committed work, in order of slack; committed work has no request.
    due: Vec<(Demand, Option<u32>)>,
}

impl Program {
    /// Finds the optimal choice, or a choice with a bound if the budget ends. `committed` by itself meets its slacks.
    pub(super) fn solve(
        &mut self,
        instance: &Instance,
        committed: &[Demand],
        budget: &mut Budget<'_>,
    ) -> Answer {
        self.begin(instance, committed);
        if self.all_fit() {
            // The common case below capacity, which needs no dynamic program.
            let all = (0..instance.items.len()).collect();
            let value = instance.items.iter().map(|item| u128::from(item.value)).sum();
            return Answer::of(instance, all, value);
        }
        let mut value_left: u128 = instance.items.iter().map(|item| u128::from(item.value)).sum();
        let (mut nodes, mut bound) = (0, 0);
        let mut is_over = false;
        for place in 0..self.due.len() {
            let (demand, request) = self.due[place];
            let Some(request) = request else {
                self.add_committed(demand);
                continue;
            };
            if !is_over {
                let cost = self.frontier.len().div_ceil(STATES_PER_NODE);
                is_over = !(0..cost).all(|_| budget.spend_node());
                if is_over {
                    let most = self.frontier.last().map_or(0, |state| state.value);
                    bound = most + value_left;
                } else {
                    nodes += cost as u64;
                    self.offer(request, &instance.items[request as usize]);
                }
            }
            value_left -= u128::from(instance.items[request as usize].value);
        }
        let best = *self.frontier.last().expect("the empty choice is feasible");
        let answer = Answer::of(instance, self.chosen(best), best.value.max(bound));
        Answer { nodes, ..answer }
    }

    fn begin(&mut self, instance: &Instance, committed: &[Demand]) {
        self.trail.clear();
        self.frontier.clear();
        self.frontier.push(State { work_us: 0, value: 0, last: NO_REQUEST });
        let items = (0_u32..).zip(&instance.items);
        let requests = items.map(|(index, item)| {
            (Demand { slack_us: item.slack_us, compute_us: item.compute_us }, Some(index))
        });
        self.due.clear();
        self.due.extend(requests.chain(committed.iter().map(|&demand| (demand, None))));
        self.due.sort_unstable();
    }

    /// Whether all requests can be served.
    fn all_fit(&self) -> bool {
        let mut work_us = 0_u64;
        self.due.iter().all(|(demand, _)| {
            work_us = work_us.saturating_add(demand.compute_us);
            work_us <= demand.slack_us
        })
    }

    /// Adds committed work to every state, and drops the states that become late by it.
    fn add_committed(&mut self, demand: Demand) {
        for state in &mut self.frontier {
            state.work_us += demand.compute_us;
        }
        self.frontier.retain(|state| state.work_us <= demand.slack_us);
    }

    /// Extends every state by a request, and merges the states with and without it into the new frontier.
    fn offer(&mut self, request: u32, item: &Item) {
        self.merged.clear();
        let (mut without, mut with) = (0, 0);
        // Both lists have increasing work and increasing value, and so has the merged frontier.
        loop {
            let old = self.frontier.get(without).copied();
            let new = self.frontier.get(with).map(|state| State {
                work_us: state.work_us.saturating_add(item.compute_us),
                value: state.value + u128::from(item.value),
                last: state.last,
            });
            let new = new.filter(|state| state.work_us <= item.slack_us);
            let takes_new = match (old, new) {
                (None, None) => break,
                (Some(old), Some(new)) => {
                    (new.work_us, u128::MAX - new.value) < (old.work_us, u128::MAX - old.value)
                }
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            let state = if takes_new { new } else { old }.expect("it was compared");
            (without, with) = if takes_new { (without, with + 1) } else { (without + 1, with) };
            if self.merged.last().is_some_and(|last| last.value >= state.value) {
                continue;
            }
            let last = if takes_new { self.note(request, state.last) } else { state.last };
            self.merged.push(State { last, ..state });
        }
        std::mem::swap(&mut self.frontier, &mut self.merged);
    }

    fn note(&mut self, request: u32, before: u32) -> u32 {
        self.trail.push((request, before));
        self.trail.len() as u32 - 1
    }

    fn chosen(&self, state: State) -> Vec<usize> {
        let mut chosen = Vec::new();
        let mut last = state.last;
        while last != NO_REQUEST {
            let (request, before) = self.trail[last as usize];
            chosen.push(request as usize);
            last = before;
        }
        chosen
    }
}
