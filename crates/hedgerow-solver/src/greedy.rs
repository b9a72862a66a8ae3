//! Greedy heuristics, without a search.

use std::cmp::Ordering;

use super::answer::Answer;
use super::bound;
use super::instance::{Capacity, Instance, Item, Limit, Timing};
use super::partial_batch::PartialBatch;

/// The most slacks that are tried as a batch's tightest: enough for a good answer in linear time.
const SLACKS_TRIED: usize = 32;

/// Cheapest requests first, where a request's cost is the largest fraction of any limit that it takes, per value; or
/// the Moore-Hodgson rule, where each request has its own deadline.
pub(super) fn solve(instance: &Instance) -> Answer {
    let chosen = match instance.timing {
        Timing::Together => cheapest_first(instance),
        Timing::ByDeadline { .. } => moore_hodgson(instance),
    };
    let bound = match is_optimal_for(instance) {
        true => instance.value_of(&chosen),
        false => bound::upper_bound(instance),
    };
    Answer::of(instance, chosen, bound)
}

/// Whether the Moore-Hodgson rule is proven optimal: each request has its own deadline, all values are equal, and
/// only compute can bind.
///
/// Proof by induction over the requests and the committed work in order of slack. Hypothesis: for every `k`, the `k`
/// shortest of the requests chosen so far take the least compute time of any `k` that meet the deadlines so far. One
/// more request is added and, if it is late, the longest is removed: the `k` shortest of the new choice again take
/// the least time, since the shortest `k` are either `k` of the previous ones or `k − 1` of them and the new one.
/// Committed work adds the same time to every choice, so if it makes work late, each removed request must be the
/// longest. So in the end no choice serves more requests.
fn is_optimal_for(instance: &Instance) -> bool {
    let have_equal_values = instance.items.windows(2).all(|pair| pair[0].value == pair[1].value);
    instance.timing != Timing::Together && have_equal_values && instance.only_deadlines_bind()
}

/// Fills a batch with the cheapest requests, once for each of up to [`SLACKS_TRIED`] tightest slacks.
fn cheapest_first(instance: &Instance) -> Vec<usize> {
    let mut slacks: Vec<u64> = instance.items.iter().map(|item| item.slack_us).collect();
    slacks.sort_unstable();
    slacks.dedup();
    let stride = slacks.len().div_ceil(SLACKS_TRIED).max(1);
    let mut best = Vec::new();
    for tightest_us in slacks.into_iter().step_by(stride) {
        let compute_us = instance.capacity.compute_us.min(tightest_us);
        let allowed = Capacity { compute_us, ..instance.capacity }.limits();
        let has_slack = |&index: &usize| instance.items[index].slack_us >= tightest_us;
        let mut order: Vec<usize> = (0..instance.items.len()).filter(has_slack).collect();
        order.sort_by(|&a, &b| {
            price(&instance.items[a], allowed).total_cmp(&price(&instance.items[b], allowed)).then(a.cmp(&b))
        });
        let mut batch = PartialBatch::new(instance);
        for index in order {
            // Not fitting is an ordinary case: the request stays out.
            let _ = batch.push_if_it_fits(index);
        }
        if instance.value_of(batch.chosen()) > instance.value_of(&best) {
            best = batch.chosen().to_vec();
        }
    }
    best
}

/// Moore-Hodgson: adds requests in order of slack; whenever a limit breaks, removes the request chosen so far that
/// needs most of it per value. Optimal with one limit and equal values, a heuristic otherwise.
fn moore_hodgson(instance: &Instance) -> Vec<usize> {
    let mut order = instance.individually_feasible();
    order.sort_by_key(|&index| (instance.items[index].slack_us, index));
    let mut batch = PartialBatch::new(instance);
    for index in order {
        batch.push(index);
        while let Some(limit) = batch.limit() {
            let item = |place: usize| &instance.items[batch.chosen()[place]];
            let costliest = (0..batch.chosen().len())
                .max_by(|&a, &b| {
                    let (a, b) = (item(a), item(b));
                    by_need_per_value(need(a, limit), a.value, need(b, limit), b.value)
                })
                .expect("committed work fits by itself, so a request was chosen");
            batch.remove(costliest);
        }
    }
    batch.chosen().to_vec()
}

fn need(item: &Item, limit: Limit) -> u64 {
    match limit {
        Limit::Uplink => item.uplink,
        Limit::Downlink => item.downlink,
        Limit::Memory => item.memory,
        Limit::Compute | Limit::Deadline => item.compute_us,
    }
}

/// The largest fraction of any limit that a request takes, per value.
fn price(item: &Item, allowed: [u64; 4]) -> f64 {
    if item.value == 0 {
        // Not left to the division: 0/0 is NaN of either sign, which may sort to either end.
        return f64::INFINITY;
    }
    let part = |(need, all): (u64, u64)| if need == 0 { 0.0 } else { need as f64 / all as f64 };
    let costliest = item.needs().into_iter().zip(allowed).map(part).fold(0.0, f64::max);
    costliest / item.value as f64
}

fn by_need_per_value(need_a: u64, value_a: u64, need_b: u64, value_b: u64) -> Ordering {
    // Zero values first, or 0/0 would equal everything; then need/value, by cross-multiplication.
    (value_a == 0)
        .cmp(&(value_b == 0))
        .then((u128::from(need_a) * u128::from(value_b)).cmp(&(u128::from(need_b) * u128::from(value_a))))
}
