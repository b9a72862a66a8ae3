use std::collections::BTreeSet;

use hedgerow_solver::{Budget, Item, NUMBER_LIMIT, Policy, Timing};

use super::*;

fn served(instance: &Instance) -> usize {
    hedgerow_solver::solve(instance, Policy::Greedy, &mut Budget::unlimited()).unwrap().chosen.len()
}

fn dftsp_nodes(instance: &Instance) -> u64 {
    hedgerow_solver::solve(instance, Policy::Dftsp, &mut Budget::nodes(1_000_000)).unwrap().nodes
}

/// Calls `look` with every family's instances of some sizes and seeds.
fn each_instance(mut look: impl FnMut(Family, usize, u64, &Instance)) {
    for family in Family::ALL {
        for (requests, seeds) in [(1, 1), (10, 5), (100, 2), (4000, 1)] {
            for seed in 0..seeds {
                look(family, requests, seed, &draw(family, requests, seed));
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_instance_and_another_seed_another() {
    for family in Family::ALL {
        assert_eq!(draw(family, 30, 7), draw(family, 30, 7), "{family}");
        assert_ne!(draw(family, 30, 7), draw(family, 30, 8), "{family}");
    }
}

#[test]
fn no_instance_is_a_prefix_of_a_larger_one() {
    for family in Family::ALL {
        assert_ne!(draw(family, 30, 7).items[..20], draw(family, 20, 7).items, "{family}");
    }
}

#[test]
fn a_fifth_to_two_thirds_are_served_at_every_size() {
    each_instance(|family, requests, seed, instance| {
        assert_eq!((instance.items.len(), &instance.timing), (requests, &Timing::Together));
        let served = served(instance);
        if requests >= 10 {
            let name = instance_name(family, requests, seed);
            assert!(requests <= 5 * served && 3 * served <= 2 * requests, "{served} of {name}");
        }
    });
}

#[test]
fn no_number_reaches_the_limit_and_every_value_is_positive() {
    each_instance(|family, requests, seed, instance| {
        let capacity = instance.capacity;
        let mut numbers = vec![capacity.uplink, capacity.downlink, capacity.memory, capacity.compute_us];
        for &Item { uplink, downlink, memory, compute_us, slack_us, value } in &instance.items {
            assert!(value > 0);
            numbers.extend([uplink, downlink, memory, compute_us, slack_us, value]);
        }
        let largest = numbers.into_iter().max().unwrap();
        assert!(largest < NUMBER_LIMIT, "{largest} in {}", instance_name(family, requests, seed));
    });
}

#[test]
fn an_instance_of_size_0_is_empty() {
    for family in Family::ALL {
        assert_eq!(draw(family, 0, 1), Instance::default());
    }
}

#[test]
fn every_name_is_read_back_and_an_unknown_one_gets_the_list() {
    for family in Family::ALL {
        assert_eq!(family.to_string().parse(), Ok(family));
        assert!(family.description().ends_with('.'));
    }
    assert_eq!(Family::ALL.map(Family::name).join(", "), Family::NAMES);
    assert_eq!(
        "hard".parse::<Family>().unwrap_err().to_string(),
        "unknown family `hard`; choose one of paper, anti-correlated, tight, near-ties, deadlines, weighted, \
         correlated, one-limit, parity, adversarial"
    );
}

#[test]
fn every_deadline_is_distinct_where_the_family_says_so() {
    for requests in [10, 100, 4000] {
        let slacks: BTreeSet<u64> =
            draw(Family::Deadlines, requests, 3).items.iter().map(|item| item.slack_us).collect();
        assert_eq!(slacks.len(), requests);
    }
}

#[test]
fn near_ties_are_within_a_hundredth_of_the_middle() {
    for item in draw(Family::NearTies, 100, 3).items {
        assert!((99_000..=101_000).contains(&item.compute_us));
        assert!((19_800..=20_200).contains(&item.uplink));
    }
}

#[test]
fn values_are_equal_where_the_family_does_not_say_otherwise() {
    for family in Family::ALL {
        let values: BTreeSet<u64> = draw(family, 100, 5).items.iter().map(|item| item.value).collect();
        match family {
            Family::Weighted => assert_eq!(values, (1..=10).collect()),
            Family::Correlated => assert!(values.iter().all(|value| (100..=1000).contains(value))),
            Family::Parity => {}
            Family::Paper
            | Family::AntiCorrelated
            | Family::Tight
            | Family::NearTies
            | Family::Deadlines
            | Family::OneLimit
            | Family::Adversarial => assert_eq!(values, [1].into()),
        }
    }
}

#[test]
fn no_parity_batch_uses_up_the_limit_and_both_kinds_are_drawn() {
    let is_subset_sum = |instance: &Instance| instance.items.iter().any(|item| item.value > 1);
    let instances: Vec<Instance> = (0..20).map(|seed| draw(Family::Parity, 12, seed)).collect();
    let subset_sums: Vec<&Instance> = instances.iter().filter(|instance| is_subset_sum(instance)).collect();
    assert!((5..=15).contains(&subset_sums.len()), "{} of 20", subset_sums.len());
    for instance in subset_sums {
        let best = hedgerow_solver::solve(instance, Policy::BruteForce, &mut Budget::unlimited()).unwrap();
        let capacity = instance.capacity;
        let limits = [capacity.uplink, capacity.downlink, capacity.memory, capacity.compute_us];
        assert!(limits.iter().all(|&limit| u128::from(limit) != best.value));
    }
}

#[test]
fn an_adversarial_instance_takes_dftsp_more_nodes_than_a_plain_draw() {
    for seed in 0..5 {
        let plain = dftsp_nodes(&draw(Family::Tight, 12, seed));
        let adversarial = dftsp_nodes(&draw(Family::Adversarial, 12, seed));
        assert!(adversarial > 3 * plain, "seed {seed}: {adversarial} and {plain} nodes");
    }
}
