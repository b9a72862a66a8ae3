//! A budget ends a search, and the answer found until then is sound.

use std::cell::Cell;

use super::instances::*;
use super::*;

/// Twelve requests of the paper's structure that take `dftsp` some nodes.
fn hard() -> Instance {
    let rows: Vec<[u64; 6]> =
        (0..12).map(|i| [5 + i, 3 + i, 4 + i % 3, 10 + i % 3 * 7, 40 + 13 * (i * 5 % 7), 1]).collect();
    table([50, 45, 40, 90], &rows)
}

#[test]
fn a_search_visits_no_more_nodes_than_it_may() {
    for policy in [Policy::BruteForce, Policy::Dftsp] {
        let all = solve(&hard(), policy, &mut Budget::unlimited()).unwrap();
        assert!(all.is_optimal());
        for limit in (0..64).chain([all.nodes - 1, all.nodes, all.nodes + 1]) {
            let mut budget = Budget::nodes(limit);
            let answer = solve(&hard(), policy, &mut budget).unwrap();
            assert_eq!(answer.nodes, limit.min(all.nodes));
            assert_eq!(budget.nodes_left(), limit - answer.nodes);
            assert_sound(&hard(), &answer, all.value);
            assert!(limit < all.nodes || answer == all, "{answer:?}");
        }
    }
}

#[test]
fn any_answer_cut_short_is_allowed_and_its_bound_holds() {
    some_arbitrary_instances(500, 7, |instance| {
        let best = best_value(instance);
        for limit in [0, 1, 5, 20] {
            for policy in [Policy::BruteForce, Policy::Dftsp] {
                let answer = solve(instance, policy, &mut Budget::nodes(limit)).unwrap();
                assert_sound(instance, &answer, best);
            }
        }
    });
}

#[test]
fn sizes_already_ruled_out_lower_the_bound() {
    let all = solve(&hard(), Policy::Dftsp, &mut Budget::unlimited()).unwrap();
    let late = solve(&hard(), Policy::Dftsp, &mut Budget::nodes(all.nodes - 1)).unwrap();
    assert!(late.bound < upper_bound(&hard()));
}

#[test]
fn should_stop_ends_the_search_and_is_not_called_at_every_node() {
    let calls = Cell::new(0);
    let should_stop = || {
        calls.set(calls.get() + 1);
        calls.get() > 3
    };
    let answer = solve(&hard(), Policy::BruteForce, &mut Budget::with_stop(u64::MAX, &should_stop)).unwrap();
    assert_eq!(calls.get(), 4);
    assert_eq!(answer.nodes, 63 + 3 * 64);
    assert!(!answer.is_optimal());
}

#[test]
fn brute_force_rejects_more_requests_than_it_can_enumerate() {
    let instance = table([9; 4], &[[1, 1, 1, 1, 9, 1]; 26]);
    let refused = solve(&instance, Policy::BruteForce, &mut Budget::unlimited()).unwrap_err();
    assert_eq!(refused, SolveError::TooManyRequests { requests: 26, most: 25 });
}
