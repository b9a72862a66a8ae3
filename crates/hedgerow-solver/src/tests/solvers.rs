//! Properties of every solver, and of each of the simple ones.

use super::draw::{Draw as _, Seeded};
use super::instances::*;
use super::*;

fn chosen(instance: &Instance, policy: Policy) -> Vec<usize> {
    solve(instance, policy, &mut Budget::unlimited()).unwrap().chosen
}

#[test]
fn every_answer_is_an_allowed_batch_with_its_true_value_and_a_true_bound() {
    some_arbitrary_instances(2_000, 8, |instance| {
        let best = best_value(instance);
        for policy in POLICIES {
            let answer = solve(instance, policy, &mut Budget::unlimited()).unwrap();
            assert_sound(instance, &answer, best);
            assert!(answer.chosen.is_sorted());
        }
    });
}

#[test]
fn the_empty_instance_has_the_empty_answer() {
    for policy in POLICIES {
        let answer = solve(&Instance::default(), policy, &mut Budget::unlimited()).unwrap();
        assert!(answer.chosen.is_empty() && answer.is_optimal(), "{policy}");
    }
}

#[test]
fn the_solvers_and_check_agree_on_which_batches_are_allowed() {
    for seed in 0..3_000 {
        let mut draw = Seeded(seed);
        let instance = arbitrary(&mut draw, 8);
        let mut batch = super::super::partial_batch::PartialBatch::new(&instance);
        for index in 0..instance.items.len() {
            batch.push(index);
            if draw.up_to(2) == 0 {
                batch.remove(draw.up_to(batch.chosen().len() as u64 - 1) as usize);
            }
            let allowed = check::check(&instance, batch.chosen()).is_ok();
            assert_eq!(batch.limit().is_none(), allowed, "{:?}\n{instance:#?}", batch.chosen());
        }
    }
}

#[test]
fn first_come_first_served_skips_requests_that_do_not_fit() {
    let instance = table([5, 9, 9, 9], &[[3, 1, 1, 1, 9, 1], [4, 1, 1, 1, 9, 1], [2, 1, 1, 1, 9, 1]]);
    assert_eq!(chosen(&instance, Policy::Fifo), [0, 2]);
}

#[test]
fn the_earliest_deadline_goes_first() {
    let instance = table([2, 9, 9, 9], &[[1, 0, 0, 1, 9, 1], [1, 0, 0, 1, 7, 1], [1, 0, 0, 1, 8, 1]]);
    assert_eq!(chosen(&instance, Policy::Edf), [1, 2]);
}

#[test]
fn a_static_batch_is_never_larger_than_its_size() {
    let instance = table([9; 4], &[[1, 1, 1, 1, 9, 1]; 5]);
    assert_eq!(chosen(&instance, Policy::Static { size: 3 }), [0, 1, 2]);
}

#[test]
fn without_batching_a_request_takes_as_many_times_longer_as_there_are_accelerators() {
    let instance = table([9, 9, 9, 12], &[[0, 0, 0, 4, 12, 1], [0, 0, 0, 4, 11, 1], [0, 0, 0, 5, 99, 1]]);
    assert_eq!(chosen(&instance, Policy::None { accelerators: 3 }), [0]);
    assert_eq!(chosen(&instance, Policy::None { accelerators: 1 }), [0]);
    assert_eq!(chosen(&instance, Policy::None { accelerators: 2 }), [0, 1]);
}

#[test]
fn the_binding_limit_is_the_one_that_keeps_most_out() {
    let instance = table([4, 9, 9, 9], &[[3, 1, 1, 1, 9, 1], [2, 1, 1, 1, 9, 1], [2, 1, 1, 1, 9, 1]]);
    assert_eq!(binding(&instance, &[0]), Some(Limit::Uplink));
    assert_eq!(binding(&instance, &[1]), Some(Limit::Uplink));
    assert_eq!(binding(&instance, &[0, 1, 2]), None);
    let late = table([9; 4], &[[1, 1, 1, 5, 9, 1], [1, 1, 1, 5, 9, 1], [1, 1, 1, 1, 5, 1]]);
    assert_eq!(binding(&late, &[0]), Some(Limit::Compute));
    assert_eq!(binding(&late, &[0, 1]), Some(Limit::Compute));
    assert_eq!(binding(&table([9; 4], &[[1, 1, 1, 5, 4, 1]]), &[]), Some(Limit::Deadline));
}
