//! Fast answers without a search.

use std::cmp::Ordering;

use super::answer::Answer;
use super::bound;
use super::instance::{Capacity, Instance, Item, Limit, Timing};
use super::partial_batch::PartialBatch;

/// At most so many slacks are tried as a batch's tightest: enough for a good answer in linear time.
const SLACKS_TRIED: usize = 32;

/// Cheapest requests first, where a request is as dear as the largest fraction of any limit that it
/// takes per value; or, where each request has its own deadline, the rule of Moore and Hodgson.
pub(super) fn solve(instance: &Instance) -> Answer {
    let chosen = match instance.timing {
        Timing::Together => cheapest_first(instance),
        Timing::ByDeadline { .. } => drop_the_dearest(instance),
    };
    let bound = match is_optimal_for(instance) {
        true => instance.value_of(&chosen),
        false => bound::upper_bound(instance),
    };
    Answer::of(instance, chosen, bound)
}

/// Whether the rule of Moore and Hodgson is proven: each request has its own deadline, all are worth the
/// same, and nothing but compute can bind.
///
/// Proof, by induction over the requests and promises in order of slack. Say that for every number `k`, the
/// `k` shortest of those chosen so far take the least compute time of any `k` that meet the deadlines so far.
/// One more request is added and, if it is late, the longest leaves: the `k` shortest of the new choice are
/// again the quickest, since the quickest `k` are either `k` of before or `k − 1` of before and the new one. A
/// promise takes the same time from every choice, so if it makes work late, each who leaves must be the
/// longest. So at the end nobody can serve more.
fn is_optimal_for(instance: &Instance) -> bool {
    let are_worth_the_same = instance.items.windows(2).all(|pair| pair[0].value == pair[1].value);
    instance.timing != Timing::Together && are_worth_the_same && instance.only_deadlines_bind()
}

/// Fills a batch with the cheapest requests, once for each of some slacks as the tightest allowed.
fn cheapest_first(instance: &Instance) -> Vec<usize> {
    let mut slacks: Vec<u64> = instance.items.iter().map(|item| item.slack_us).collect();
    slacks.sort_unstable();
    slacks.dedup();
    let stride = slacks.len().div_ceil(SLACKS_TRIED).max(1);
    let mut best = Vec::new();
    for tightest_us in slacks.into_iter().step_by(stride) {
        let compute_us = instance.capacity.compute_us.min(tightest_us);
        let allowed = Capacity { compute_us, ..instance.capacity }.limits();
        let is_patient = |&index: &usize| instance.items[index].slack_us >= tightest_us;
        let mut order: Vec<usize> = (0..instance.items.len()).filter(is_patient).collect();
        order.sort_by(|&a, &b| {
            price(&instance.items[a], allowed).total_cmp(&price(&instance.items[b], allowed)).then(a.cmp(&b))
        });
        let mut load = PartialBatch::new(instance);
        for index in order {
            // A refusal is the ordinary case here: the request simply stays out.
            let _ = load.push_if_it_fits(index);
        }
        if instance.value_of(load.chosen()) > instance.value_of(&best) {
            best = load.chosen().to_vec();
        }
    }
    best
}

/// Moore and Hodgson: most urgent first; whenever a limit breaks, the dearest request chosen so far
/// leaves. With one limit and equal values this is optimal; with more it is a good guess.
fn drop_the_dearest(instance: &Instance) -> Vec<usize> {
    let mut order = instance.individually_feasible();
    order.sort_by_key(|&index| (instance.items[index].slack_us, index));
    let mut load = PartialBatch::new(instance);
    for index in order {
        load.push(index);
        while let Some(limit) = load.limit() {
            let item = |place: usize| &instance.items[load.chosen()[place]];
            let dearest = (0..load.chosen().len())
                .max_by(|&a, &b| {
                    let (a, b) = (item(a), item(b));
                    by_need_per_value(need(a, limit), a.value, need(b, limit), b.value)
                })
                .expect("what is promised already fits by itself, so something was chosen");
            load.remove(dearest);
        }
    }
    load.chosen().to_vec()
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
        // Not left to the division: 0/0 is a number of either sign, and so of either end of an order.
        return f64::INFINITY;
    }
    let part = |(need, all): (u64, u64)| if need == 0 { 0.0 } else { need as f64 / all as f64 };
    let dearest = item.needs().into_iter().zip(allowed).map(part).fold(0.0, f64::max);
    dearest / item.value as f64
}

fn by_need_per_value(need_a: u64, value_a: u64, need_b: u64, value_b: u64) -> Ordering {
    // Without value first, or 0/0 would be equal to everything; then need/value, without dividing.
    (value_a == 0)
        .cmp(&(value_b == 0))
        .then((u128::from(need_a) * u128::from(value_b)).cmp(&(u128::from(need_b) * u128::from(value_a))))
}
