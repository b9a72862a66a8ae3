//! Tests of the greedy heuristics.

use super::instances::*;
use super::*;

fn greedy(instance: &Instance) -> Answer {
    solve(instance, Policy::Greedy, &mut Budget::unlimited()).unwrap()
}

/// The Moore-Hodgson rule, with committed work.
#[test]
fn by_deadline_it_is_optimal_where_only_compute_binds_and_values_are_equal() {
    let mut with_committed = 0;
    some_arbitrary_instances(4_000, 8, |instance| {
        let mut instance = instance.clone();
        let Timing::ByDeadline { committed } = &instance.timing else { return };
        with_committed += u32::from(!committed.is_empty());
        for item in &mut instance.items {
            *item = Item { uplink: 0, downlink: 0, memory: 0, value: 1, ..*item };
        }
        assert_eq!(greedy(&instance).value, best_value(&instance), "{instance:#?}");
    });
    assert!(with_committed > 1_000);
}

#[test]
fn a_request_without_value_comes_last() {
    let instance = table([1, 9, 9, 9], &[[0, 0, 0, 0, 9, 0], [1, 0, 0, 0, 9, 0], [1, 0, 0, 0, 9, 1]]);
    assert_eq!(greedy(&instance).chosen, [0, 2]);
}

/// Its need per value is 0/0, which must not sort between two others.
#[test]
fn by_deadline_a_request_without_value_is_removed_first() {
    let rows = [[0, 0, 0, 3, 4, 2], [0, 0, 0, 0, 4, 0], [0, 0, 0, 3, 5, 3]];
    let timing = Timing::ByDeadline { committed: Vec::new() };
    assert_eq!(greedy(&Instance { timing, ..table([9; 4], &rows) }).chosen, [2]);
}

#[test]
fn compute_costs_more_where_deadlines_leave_little_of_the_slot() {
    let rows = [[1, 0, 0, 9, 10, 1], [2, 0, 0, 5, 10, 1], [2, 0, 0, 5, 10, 1]];
    assert_eq!(greedy(&table([10, 10, 10, 1_000], &rows)).chosen, [1, 2]);
}

#[test]
fn the_cheapest_requests_per_value_come_first() {
    let instance = table([10, 99, 99, 99], &[[6, 1, 1, 1, 99, 1], [5, 1, 1, 1, 99, 1], [4, 1, 1, 1, 99, 1]]);
    assert_eq!(greedy(&instance).chosen, [1, 2]);
}

#[test]
fn it_leaves_out_requests_with_little_slack_where_that_serves_more() {
    let instance = table([9; 4], &[[0, 0, 0, 1, 1, 1], [0, 0, 0, 2, 4, 1], [0, 0, 0, 2, 4, 1]]);
    assert_eq!(greedy(&instance).chosen, [1, 2]);
}
