//! Instances that `dftsp` takes long to solve, found by local search.
//!
//! The core is an instance of at most [`CORE`] requests. It starts as a draw of `tight`; the search changes one
//! number at a time and accepts the change if `dftsp` visits no fewer nodes. It ends after [`TRIES`] changes or
//! [`NODES_IN_ALL`] nodes, so it is reproducible and short; its result is hard, but not the hardest instance.
//!
//! With more requests the core is repeated, each time with needs changed by up to 0.2 %, and limits and slacks
//! grow in proportion. The search does not cover those instances: only the core is known to be hard, and only
//! for the present `dftsp`. If `dftsp` or `greedy` changes, the same seed may give another instance.

use hedgerow_solver::{Budget, Instance, Item, Policy};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::tables;

/// Number of requests of the core.
const CORE: usize = 12;
const TRIES: usize = 400;
/// Most nodes that `dftsp` may visit during the whole search.
const NODES_IN_ALL: u64 = 400_000;
/// Most nodes that it may visit per instance: an instance that takes more is hard enough.
const NODES_IN_ONE: u64 = 20_000;

pub(super) fn draw(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let core = hard_core(draws, requests.min(CORE));
    if requests <= CORE { core } else { repeated(draws, &core, requests) }
}

fn hard_core(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let mut best = tables::tight(draws, requests);
    let mut most_nodes = dftsp_nodes(&best);
    let mut nodes_left = NODES_IN_ALL;
    for _ in 0..TRIES {
        if nodes_left == 0 || most_nodes >= NODES_IN_ONE {
            break;
        }
        let candidate = changed(draws, &best);
        if !serves_some(&candidate) {
            continue;
        }
        let nodes = dftsp_nodes(&candidate);
        nodes_left = nodes_left.saturating_sub(nodes);
        if nodes >= most_nodes {
            (best, most_nodes) = (candidate, nodes);
        }
    }
    best
}

/// Number of nodes that `dftsp` visits, at most [`NODES_IN_ONE`].
fn dftsp_nodes(instance: &Instance) -> u64 {
    let answer = hedgerow_solver::solve(instance, Policy::Dftsp, &mut Budget::nodes(NODES_IN_ONE));
    answer.expect("dftsp takes any instance").nodes
}

/// Whether `greedy` serves about a third to a half of the requests. Otherwise the search might end with an instance
/// that is hard but of no interest, because no or all requests fit.
fn serves_some(instance: &Instance) -> bool {
    let answer = hedgerow_solver::solve(instance, Policy::Greedy, &mut Budget::unlimited());
    let (served, requests) = (answer.expect("greedy takes any instance").chosen.len(), instance.items.len());
    3 * served >= requests && 2 * served <= requests + 1
}

/// Copies the instance with one random number changed.
fn changed(draws: &mut ChaCha8Rng, instance: &Instance) -> Instance {
    let mut instance = instance.clone();
    let index = draws.random_range(0..instance.items.len());
    let (item, capacity) = (&mut instance.items[index], &mut instance.capacity);
    let [uplink, downlink, memory, compute_us] = tables::USUAL;
    match draws.random_range(0..8) {
        0 => item.uplink = draws.random_range(uplink),
        1 => item.downlink = draws.random_range(downlink),
        2 => item.memory = draws.random_range(memory),
        3 => item.compute_us = draws.random_range(compute_us),
        4 => item.slack_us = capacity.compute_us * draws.random_range(10..=40) / 20,
        5 => capacity.uplink = capacity.uplink * draws.random_range(95..=105) / 100,
        6 => capacity.downlink = capacity.downlink * draws.random_range(95..=105) / 100,
        _ => capacity.memory = capacity.memory * draws.random_range(95..=105) / 100,
    }
    instance
}

fn repeated(draws: &mut ChaCha8Rng, core: &Instance, requests: usize) -> Instance {
    let grown = |number: u64| number * requests as u64 / core.items.len() as u64;
    let mut aside = |need: u64| need * draws.random_range(998..=1002) / 1000;
    let mut instance = Instance { items: Vec::with_capacity(requests), ..core.clone() };
    for item in core.items.iter().cycle().take(requests) {
        instance.items.push(Item {
            uplink: aside(item.uplink),
            downlink: aside(item.downlink),
            memory: aside(item.memory),
            compute_us: aside(item.compute_us),
            slack_us: grown(item.slack_us),
            value: item.value,
        });
    }
    let capacity = &mut instance.capacity;
    for limit in
        [&mut capacity.uplink, &mut capacity.downlink, &mut capacity.memory, &mut capacity.compute_us]
    {
        *limit = grown(*limit);
    }
    instance
}
