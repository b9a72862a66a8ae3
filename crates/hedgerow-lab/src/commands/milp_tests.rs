use hedgerow_solver::{Budget, Policy};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const NO_LIMITS: Limits = Limits { time: None, nodes: u64::MAX };

/// An instance of up to ten requests with needs up to `need_max`, and sums that let some of them in.
fn draw(rng: &mut ChaCha8Rng, need_max: u64, value_max: u64) -> Instance {
    let count = rng.random_range(0..=10);
    let mut item = || Item {
        uplink: rng.random_range(0..=need_max),
        downlink: rng.random_range(0..=need_max),
        memory: rng.random_range(0..=need_max),
        compute_us: rng.random_range(0..=need_max),
        slack_us: rng.random_range(need_max / 2..=need_max * 4),
        value: rng.random_range(0..=value_max),
    };
    let items = (0..count).map(|_| item()).collect();
    let mut sum = || rng.random_range(need_max / 2..=need_max * 4);
    let capacity = Capacity { uplink: sum(), downlink: sum(), memory: sum(), compute_us: sum() };
    Instance { capacity, items, timing: Timing::Together }
}

fn most(instance: &Instance) -> u128 {
    let answer = hedgerow_solver::solve(instance, Policy::BruteForce, &mut Budget::unlimited()).unwrap();
    assert!(answer.is_optimal());
    answer.value
}

/// Two requests that use a sum exactly, or exceed it by `over`.
fn pair(allowed: u64, over: u64) -> Instance {
    let item = |uplink| Item { uplink, slack_us: 9, value: 1, ..Item::default() };
    let capacity = Capacity { uplink: allowed, downlink: 0, memory: 0, compute_us: 9 };
    Instance {
        capacity,
        items: vec![item(allowed / 2), item(allowed - allowed / 2 + over)],
        ..Instance::default()
    }
}

#[test]
fn agrees_with_brute_force_and_proves_it_on_small_instances() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (need_max, value_max) in [(4, 1), (10, 1), (100, 10), (1_000_000_000, 100)] {
        for _ in 0..100 {
            let instance = draw(&mut rng, need_max, value_max);
            let answer = solve(&instance, NO_LIMITS);
            assert_eq!(check(&instance, &answer.chosen), Ok(answer.value), "{instance:?}");
            assert_eq!((answer.value, answer.bound), (most(&instance), most(&instance)), "{instance:?}");
        }
    }
}

#[test]
fn numbers_that_no_float_adds_exactly_give_an_allowed_batch_and_a_true_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..100 {
        let instance = draw(&mut rng, (1 << 51) - 1, (1 << 53) - 1);
        let answer = solve(&instance, NO_LIMITS);
        assert_eq!(check(&instance, &answer.chosen), Ok(answer.value), "{instance:?}");
        assert!((answer.value..=answer.bound).contains(&most(&instance)), "{instance:?}");
    }
}

#[test]
fn a_batch_one_unit_too_large_is_left_out_where_the_library_cannot_see_the_unit() {
    for allowed in [9, 1_000_000_000, (1 << 52) + 1] {
        let exact = solve(&pair(allowed, 0), NO_LIMITS);
        assert_eq!((exact.value, exact.bound), (2, 2), "{allowed}");
        let over = solve(&pair(allowed, 1), NO_LIMITS);
        assert_eq!((over.value, over.bound), (1, 1), "{allowed}");
    }
}

#[test]
fn a_search_without_nodes_or_time_still_gives_a_batch_and_a_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..20 {
        let instance = draw(&mut rng, 100, 10);
        for limits in [Limits { nodes: 0, ..NO_LIMITS }, Limits { time: Some(Duration::ZERO), ..NO_LIMITS }] {
            let answer = solve(&instance, limits);
            assert_eq!(check(&instance, &answer.chosen), Ok(answer.value), "{instance:?}");
            assert!((answer.value..=answer.bound).contains(&most(&instance)), "{instance:?}");
            assert_eq!(answer.nodes, 0);
        }
    }
}

#[test]
fn a_truncated_search_gives_a_feasible_batch_and_a_valid_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for nodes in 1..=20 {
        let instance = draw(&mut rng, 100, 10);
        let answer = solve(&instance, Limits { nodes, ..NO_LIMITS });
        assert_eq!(check(&instance, &answer.chosen), Ok(answer.value), "{instance:?}");
        assert!((answer.value..=answer.bound).contains(&most(&instance)), "{instance:?}");
        assert!(answer.nodes <= nodes, "{instance:?}");
    }
}

#[test]
fn a_bound_in_floating_point_is_rounded_down_only_where_that_is_safe() {
    assert_eq!(whole_bound(4.0), 4);
    assert_eq!(whole_bound(3.999_999), 4);
    assert_eq!(whole_bound(4.5), 4);
    assert_eq!(whole_bound(-0.1), 0);
    assert_eq!(whole_bound(1e9), 1_000_000_002);
}
