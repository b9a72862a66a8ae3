//! The bound holds for every instance, and numbers just below the limit do not overflow.

use super::draw::{Draw as _, Exhaustive, Seeded};
use super::instances::*;
use super::*;

#[test]
fn no_batch_exceeds_the_bound() {
    some_arbitrary_instances(3_000, 9, |instance| {
        assert!(best_value(instance) <= upper_bound(instance), "{instance:#?}");
    });
}

#[test]
fn the_bound_holds_for_every_instance_of_zeros_and_ones() {
    let mut draw = Exhaustive::default();
    while draw.next() {
        let mut row = || [draw.up_to(1), 0, draw.up_to(1), draw.up_to(1), draw.up_to(1), draw.up_to(1)];
        let rows = [row(), row()];
        let instance = table([draw.up_to(1), 0, draw.up_to(1), draw.up_to(1)], &rows);
        let (best, bound) = (best_value(&instance), upper_bound(&instance));
        assert!(best <= bound, "{best} > {bound}: {instance:#?}");
    }
}

#[test]
fn the_bound_is_reached_where_one_limit_binds_and_needs_are_equal() {
    let instance = table([7, 99, 99, 99], &[[2, 1, 1, 1, 99, 5]; 6]);
    assert_eq!((best_value(&instance), upper_bound(&instance)), (15, 17));
    let instance = table([6, 99, 99, 99], &[[2, 1, 1, 1, 99, 5]; 6]);
    assert_eq!((best_value(&instance), upper_bound(&instance)), (15, 15));
}

#[test]
fn numbers_just_below_the_limit_do_not_overflow() {
    let huge = NUMBER_LIMIT - 1;
    for seed in 0..200 {
        let mut draw = Seeded(seed);
        let mut instance = arbitrary(&mut draw, 6);
        for item in &mut instance.items {
            *item = Item {
                uplink: huge - item.uplink,
                downlink: huge / 2 + item.downlink,
                memory: huge / 3 - item.memory,
                compute_us: huge / 4 + item.compute_us,
                slack_us: huge - item.slack_us,
                value: huge - item.value,
            };
        }
        instance.capacity = Capacity { uplink: huge, downlink: huge, memory: huge, compute_us: huge };
        let best = best_value(&instance);
        for policy in POLICIES {
            let answer = solve(&instance, policy, &mut Budget::unlimited()).unwrap();
            assert_sound(&instance, &answer, best);
        }
    }
}

/// The sum over 2¹² requests of almost 2⁵³ exceeds 64 bits.
#[test]
fn a_sum_over_many_huge_requests_does_not_overflow() {
    let huge = NUMBER_LIMIT - 1;
    let mut instance = table([huge; 4], &vec![[huge, huge, huge, huge, huge, huge]; 1 << 12]);
    for committed in [None, Some(Vec::new())] {
        if let Some(committed) = committed {
            instance.timing = Timing::ByDeadline { committed };
        }
        for rules in [Rules::ALL, Rules { too_many: false, above_bound: false, ..Rules::ALL }] {
            let answer = super::super::dftsp(&instance, &mut Budget::nodes(1), rules);
            assert_eq!(check::check(&instance, &answer.chosen), Ok(u128::from(huge)));
        }
    }
    let all: Vec<usize> = (0..1 << 12).collect();
    assert!(check::check(&instance, &all).is_err());
}
