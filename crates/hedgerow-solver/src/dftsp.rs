//! The paper's search: depth-first tree search with online pruning.
//!
//! For each batch size `z` from the largest down, it searches depth-first over the number of requests to take of each
//! output-length class, and cuts branches that break a limit or can no longer reach `z`. Inside a class, requests are
//! taken in order of radio need. The first batch found is the answer.
//!
//! Requests of one output length cost the same compute time and memory on a node that pads its prompts, so a class is
//! defined here by equal compute time and memory. Because the tightest slack of a batch bounds its compute time, the
//! search runs once for each slack that could be the tightest, over the requests with at least that slack. This is
//! this project's reading, since the paper's own treatment is not at hand.
//!
//! **When it is optimal.** Values are all equal, and inside each class the order by radio need is a dominance order:
//! an earlier request needs no more uplink *and* no more downlink than a later one. Then any batch of size `z` can be
//! exchanged, request by request, for one that takes the first `k` of each class among the requests with enough
//! slack, and that batch is in the tree. A direction of the radio that no batch can fill does not count. Where a
//! class contains two requests of which one needs more uplink and the other more downlink, and both directions can be
//! full, the search can miss the best batch. [`is_exact_for`] checks the condition, and only then is the answer
//! called optimal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::answer::Answer;
use super::budget::Budget;
use super::instance::{Instance, Item, Timing};
use super::prune::{Rule, Rules};
use super::tree::{self, Class, Goal, Walk};
use super::{bound, greedy};

/// Runs the search. When the budget ends first, the answer is that of `greedy`.
pub fn solve(instance: &Instance, budget: &mut Budget<'_>, rules: Rules) -> Answer {
    let search = Search::new(instance);
    let mut counters = tree::Counters::default();
    for size in (1..=search.individually_feasible.len()).rev() {
        if rules.above_bound && size > search.largest {
            counters.cuts.count(Rule::AboveBound);
            continue;
        }
        match search.batch_of_size(size, budget, rules, &mut counters) {
            Walk::Done(None) => {}
            Walk::Done(Some(chosen)) => return search.answer(chosen, size, counters),
            Walk::OutOfBudget(_) => return search.answer(greedy::solve(instance).chosen, size, counters),
        }
    }
    search.answer(Vec::new(), 0, counters)
}

/// Whether `dftsp` is proven to be optimal for an instance: see the module's documentation.
pub fn is_exact_for(instance: &Instance) -> bool {
    Search::new(instance).is_exact()
}

/// The part of the search that is common to all batch sizes.
struct Search<'a> {
    instance: &'a Instance,
    /// The individually feasible requests.
    individually_feasible: Vec<usize>,
    /// Upper bound on the number of requests of a feasible batch.
    largest: usize,
    /// The individually feasible requests by output length, the shortest first; inside a class by radio need, then by
    /// descending slack, then in order of arrival.
    classes: Vec<Class>,
    radio: BindingRadio,
}

impl<'a> Search<'a> {
    fn new(instance: &'a Instance) -> Self {
        let individually_feasible = instance.individually_feasible();
        let largest = largest_size(instance, &individually_feasible);
        let radio = BindingRadio::new(instance, &individually_feasible, largest);
        let mut classes = BTreeMap::<(u64, u64), Class>::new();
        for &index in &individually_feasible {
            let item = &instance.items[index];
            classes.entry((item.compute_us, item.memory)).or_default().push(index);
        }
        let mut classes: Vec<Class> = classes.into_values().collect();
        for class in &mut classes {
            class.sort_by_key(|&index| {
                let item = &instance.items[index];
                (radio.need(item), Reverse(item.slack_us), index)
            });
        }
        Self { instance, individually_feasible, largest, classes, radio }
    }

    fn is_exact(&self) -> bool {
        let item = |index: usize| &self.instance.items[index];
        let has_equal_values =
            self.individually_feasible.windows(2).all(|pair| item(pair[0]).value == item(pair[1]).value);
        has_equal_values
            && self
                .classes
                .iter()
                .all(|class| class.is_sorted_by(|&a, &b| self.may_replace(item(a), item(b))))
    }

    /// Whether the first of two requests of a class dominates the second: it may replace it in any batch.
    fn may_replace(&self, a: &Item, b: &Item) -> bool {
        let [needs_a, needs_b] = [self.radio.need(a), self.radio.need(b)];
        let needs_no_more = needs_a[0] <= needs_b[0] && needs_a[1] <= needs_b[1];
        let has_no_less_slack = match self.instance.timing {
            // A pass contains only requests with at least the slack that bounds its batch.
            Timing::Together => true,
            // There is one pass for all slacks.
            Timing::ByDeadline { .. } => a.slack_us >= b.slack_us,
        };
        needs_no_more && has_no_less_slack
    }

    fn batch_of_size(
        &self,
        size: usize,
        budget: &mut Budget<'_>,
        rules: Rules,
        counters: &mut tree::Counters,
    ) -> Walk {
        for tightest_us in self.tightest_slacks() {
            let classes = self.classes_with_slack(tightest_us);
            match tree::walk(self.instance, &classes, &Goal::Size(size), rules, budget, counters) {
                Walk::Done(None) => {}
                found_or_stopped @ (Walk::Done(Some(_)) | Walk::OutOfBudget(_)) => return found_or_stopped,
            }
        }
        Walk::Done(None)
    }

    /// The slacks that could be a batch's tightest, in ascending order; one pass for all when each request has its
    /// own deadline to meet.
    fn tightest_slacks(&self) -> BTreeSet<u64> {
        match self.instance.timing {
            // Slack beyond the compute slot does not bind, so all such slacks share one pass.
            Timing::Together => {
                let slot_us = self.instance.capacity.compute_us;
                self.individually_feasible
                    .iter()
                    .map(|&index| self.instance.items[index].slack_us.min(slot_us))
                    .collect()
            }
            Timing::ByDeadline { .. } => BTreeSet::from([0]),
        }
    }

    /// The classes without the requests that have less slack than `tightest_us`.
    fn classes_with_slack(&self, tightest_us: u64) -> Vec<Class> {
        let has_slack = |&index: &usize| self.instance.items[index].slack_us >= tightest_us;
        let with_slack = |class: &Class| -> Class { class.iter().copied().filter(has_slack).collect() };
        self.classes.iter().map(with_slack).filter(|class| !class.is_empty()).collect()
    }

    /// The answer of a search that has excluded, where it is exact, every batch of more than `size` requests.
    fn answer(&self, chosen: Vec<usize>, size: usize, counters: tree::Counters) -> Answer {
        let mut bound = bound::upper_bound(self.instance);
        if self.is_exact() {
            let value_each =
                self.individually_feasible.first().map_or(0, |&index| self.instance.items[index].value);
            bound = bound.min(size as u128 * u128::from(value_each));
        }
        let answer = Answer::of(self.instance, chosen, bound);
        Answer { nodes: counters.nodes, cuts: counters.cuts, ..answer }
    }
}

/// Which directions of the radio a batch could fill: only these matter for the order inside a class.
struct BindingRadio {
    uplink: bool,
    downlink: bool,
}

impl BindingRadio {
    fn new(instance: &Instance, individually_feasible: &[usize], largest: usize) -> Self {
        let may_fill = |need: fn(&Item) -> u64, all: u64| {
            let mut needs: Vec<u64> =
                individually_feasible.iter().map(|&index| need(&instance.items[index])).collect();
            needs.sort_unstable_by_key(|&need| Reverse(need));
            needs.into_iter().take(largest).map(u128::from).sum::<u128>() > u128::from(all)
        };
        Self {
            uplink: may_fill(|item| item.uplink, instance.capacity.uplink),
            downlink: may_fill(|item| item.downlink, instance.capacity.downlink),
        }
    }

    /// A request's needs of the directions that can bind.
    fn need(&self, item: &Item) -> [u64; 2] {
        [if self.uplink { item.uplink } else { 0 }, if self.downlink { item.downlink } else { 0 }]
    }
}

fn largest_size(instance: &Instance, individually_feasible: &[usize]) -> usize {
    let items =
        individually_feasible.iter().map(|&index| Item { value: 1, ..instance.items[index] }).collect();
    let counting = Instance { items, ..instance.clone() };
    bound::upper_bound(&counting) as usize
}
