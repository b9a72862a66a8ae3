//! `exact` is optimal for every instance, proves it, and stops when its budget ends.

use std::cell::Cell;

use super::draw::{Draw, Seeded};
use super::instances::*;
use super::*;

fn exact(instance: &Instance) -> Answer {
    Exact::default().solve(instance, &mut Budget::unlimited())
}

fn together(instance: &Instance) -> Instance {
    Instance { timing: Timing::Together, ..instance.clone() }
}

fn assert_exact(instance: &Instance) {
    let instance = together(instance);
    let best = best_value(&instance);
    let answer = exact(&instance);
    assert_sound(&instance, &answer, best);
    assert_eq!((answer.value, answer.bound), (best, best), "{instance:#?}");
}

/// An instance whose limits bind, with more requests than brute force can enumerate.
fn large(seed: u64, requests: u64, values: u64) -> Instance {
    let mut draw = Seeded(seed);
    let items = (0..requests)
        .map(|_| Item {
            uplink: 500 + draw.up_to(5_000),
            downlink: 500 + draw.up_to(5_000),
            memory: 500 + draw.up_to(5_000),
            compute_us: 500 + draw.up_to(5_000),
            slack_us: (1 + draw.up_to(3)) * requests * 400,
            value: 1 + draw.up_to(values - 1),
        })
        .collect();
    let limit = requests * 1_200;
    let capacity = Capacity { uplink: limit, downlink: limit, memory: limit, compute_us: limit };
    Instance { capacity, items, timing: Timing::Together }
}

#[test]
fn agrees_with_brute_force_on_any_instance() {
    some_arbitrary_instances(5_000, 11, assert_exact);
    some_paper_instances(500, 9, assert_exact);
    every_small_paper_instance(2, assert_exact);
}

#[test]
fn is_optimal_where_dftsp_is_not() {
    let rows = [[1, 1, 0, 10, 99, 1], [2, 0, 0, 10, 99, 1], [0, 1, 0, 20, 99, 1]];
    let instance = table([2, 1, 9, 99], &rows);
    assert_eq!(dftsp_with(&instance, Rules::ALL).chosen, [0]);
    assert_eq!(exact(&instance).chosen, [1, 2]);
}

#[test]
fn numbers_up_to_the_limit_are_summed_exactly() {
    let most = NUMBER_LIMIT - 1;
    // Two halves, one of them a unit larger: both fit only if not a single unit is lost.
    let rows = [[most / 2, most, 0, most / 2, most, most], [most / 2 + 1, 0, most, most / 2 + 1, most, most]];
    assert_eq!(exact(&table([most; 4], &rows)).value, 2 * u128::from(most));
    assert_eq!(exact(&table([most - 1, most, most, most], &rows)).value, u128::from(most));
    for seed in 0..300 {
        let mut draw = Seeded(seed);
        let mut number = |least: u64| draw.one_of(&[0, 1, most / 7, most / 3 + 1, most - 1, most]).max(least);
        let rows: Vec<[u64; 6]> = (0..9).map(|_| std::array::from_fn(|_| number(0))).collect();
        assert_exact(&table(std::array::from_fn(|_| number(most / 2)), &rows));
    }
}

#[test]
fn instances_without_requests_or_capacity_are_solved() {
    assert_eq!(exact(&Instance::default()), Answer { nodes: 0, ..exact(&table([0; 4], &[])) });
    let none_fits = exact(&table([0; 4], &[[1, 0, 0, 0, 9, 1], [0, 0, 0, 1, 9, 1]]));
    assert_eq!((none_fits.value, none_fits.bound), (0, 0));
    let needs_nothing = exact(&table([0; 4], &[[0, 0, 0, 0, 0, 3], [0, 0, 0, 0, 9, 4], [1, 0, 0, 0, 9, 1]]));
    assert_eq!((needs_nothing.value, needs_nothing.bound), (7, 7));
    let without_value = exact(&table([9; 4], &[[1, 1, 1, 1, 9, 0]]));
    assert_eq!((without_value.value, without_value.bound), (0, 0));
}

#[test]
fn a_hundred_thousand_requests_are_solved_within_twenty_nodes() {
    let instance = large(1, 100_000, 1);
    let mut budget = Budget::nodes(20);
    let answer = Exact::default().solve(&instance, &mut budget);
    assert_eq!(check::check(&instance, &answer.chosen), Ok(answer.value));
    assert!(answer.is_optimal(), "{} of {}", answer.value, answer.bound);
}

#[test]
fn the_same_instance_gets_the_same_answer_whatever_was_solved_before() {
    let mut solver = Exact::default();
    for seed in 0..20 {
        let instance = large(seed, 40 + 3 * seed, 1 + seed % 3);
        assert_eq!(solver.solve(&instance, &mut Budget::unlimited()), exact(&instance));
    }
}

#[test]
fn a_budget_ends_the_search_with_a_batch_and_a_bound_that_hold() {
    for seed in 0..40 {
        let instance = large(seed, 60, 1 + seed % 10);
        let all = exact(&instance);
        assert!(all.is_optimal());
        for limit in [0, 1, 2, 3, 10, 50, 200, 1_000] {
            let mut budget = Budget::nodes(limit);
            let answer = Exact::default().solve(&instance, &mut budget);
            assert_sound(&instance, &answer, all.value);
            assert!(answer.nodes <= limit, "{} of {limit} nodes", answer.nodes);
            assert!(answer.value > 0);
        }
    }
}

#[test]
fn should_stop_is_called_between_nodes_too() {
    let instance = large(7, 4_000, 10);
    let calls = Cell::new(0);
    let should_stop = || {
        calls.set(calls.get() + 1);
        true
    };
    let answer = Exact::default().solve(&instance, &mut Budget::with_stop(u64::MAX, &should_stop));
    // The first node is the first linear program, whose columns count as work.
    assert_eq!((answer.nodes, calls.get()), (1, 1));
    assert_sound(&instance, &answer, answer.value);
}

#[test]
fn a_changed_queue_gets_the_same_value_from_the_answer_before() {
    let mut solver = Exact::default();
    let mut without_nodes = 0;
    for seed in 0..60 {
        let all = large(seed, 80, 1 + seed % 4);
        let before = Instance { items: all.items[1..].to_vec(), ..all.clone() };
        let now = Instance { items: all.items[..79].to_vec(), ..all.clone() };
        let chosen = solver.solve(&before, &mut Budget::unlimited()).chosen;
        let previous: Vec<usize> = chosen.iter().map(|index| index + 1).collect();
        let warm = solver.solve_again(&now, &previous, &mut Budget::unlimited());
        let cold = exact(&now);
        assert_sound(&now, &warm, cold.value);
        assert_eq!((warm.value, warm.bound), (cold.value, cold.bound));
        without_nodes += u32::from(warm.nodes == 0);
    }
    // Without a linear program or a search: the previous batch, filled up, reaches the bound by the previous prices.
    assert!(without_nodes > 10, "{without_nodes} of 60");
}

#[test]
fn no_previous_batch_can_mislead_it() {
    let mut solver = Exact::default();
    some_arbitrary_instances(1_000, 9, |instance| {
        let instance = together(instance);
        let count = instance.items.len();
        let mut draw = Seeded(count as u64);
        let previous: Vec<usize> = (0..6).map(|_| draw.up_to(2 * count as u64) as usize).collect();
        let answer = solver.solve_again(&instance, &previous, &mut Budget::unlimited());
        let best = best_value(&instance);
        assert_sound(&instance, &answer, best);
        assert_eq!((answer.value, answer.bound), (best, best), "{previous:?}\n{instance:#?}");
    });
}

#[test]
fn by_deadline_it_is_proven_where_only_compute_binds() {
    let mut proven = 0;
    some_arbitrary_instances(4_000, 9, |instance| {
        let limit = NUMBER_LIMIT - 1;
        let capacity = Capacity { uplink: limit, downlink: limit, memory: limit, compute_us: limit };
        let instance = Instance { capacity, ..instance.clone() };
        let answer = exact(&instance);
        let best = best_value(&instance);
        assert_sound(&instance, &answer, best);
        assert_eq!((answer.value, answer.bound), (best, best), "{instance:#?}");
        proven += u32::from(instance.timing != Timing::Together);
    });
    assert!(proven > 1_000, "{proven}");
}

#[test]
fn by_deadline_a_budget_leaves_a_bound_that_holds() {
    let mut ended_early = 0;
    for seed in 0..40 {
        let mut instance = large(seed, 200, 1_000_000);
        let limit = NUMBER_LIMIT - 1;
        instance.capacity = Capacity { uplink: limit, downlink: limit, memory: limit, compute_us: limit };
        instance.timing = Timing::ByDeadline { committed: Vec::new() };
        let all = exact(&instance);
        assert!(all.is_optimal());
        let answer = Exact::default().solve(&instance, &mut Budget::nodes(60));
        assert_sound(&instance, &answer, all.value);
        ended_early += u32::from(answer.nodes < all.nodes);
    }
    assert!(ended_early > 20, "{ended_early} of 40");
}
