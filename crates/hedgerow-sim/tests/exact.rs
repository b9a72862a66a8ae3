//! Compares `exact` with brute force on every family of instances.
//!
//! With more instances: `HEDGEROW_TEST_INSTANCES=1000000 cargo test --release -p hedgerow-sim --test exact`.

use hedgerow_sim::generators::{self, Family};
use hedgerow_solver::{Budget, Exact, Instance, Policy, check::check, solve};

/// Total number of instances.
const INSTANCES: u64 = 100_000;

/// Number of adversarial instances: finding one takes as long as solving a thousand others.
const ADVERSARIAL: u64 = 200;

const REQUESTS_MAX: u64 = 14;

fn by(policy: Policy, instance: &Instance) -> u128 {
    let answer = solve(instance, policy, &mut Budget::unlimited()).unwrap();
    assert!(answer.is_optimal());
    answer.value
}

#[test]
fn agrees_with_brute_force_on_a_hundred_thousand_instances_of_all_families() {
    let wanted = std::env::var("HEDGEROW_TEST_INSTANCES").map_or(INSTANCES, |text| text.parse().unwrap());
    let each = (wanted - ADVERSARIAL).div_ceil(Family::ALL.len() as u64 - 1);
    let mut solver = Exact::default();
    let mut looked_at = 0;
    for family in Family::ALL {
        let count = if family == Family::Adversarial { ADVERSARIAL } else { each };
        for seed in 0..count {
            let requests = (1 + seed % REQUESTS_MAX) as usize;
            let instance = generators::draw(family, requests, seed);
            let answer = solver.solve(&instance, &mut Budget::unlimited());
            let best = by(Policy::BruteForce, &instance);
            let name = generators::instance_name(family, requests, seed);
            assert_eq!((answer.value, answer.bound), (best, best), "{name}");
            assert_eq!(check(&instance, &answer.chosen), Ok(best), "{name}");
            looked_at += 1;
        }
    }
    assert!(looked_at >= wanted, "{looked_at}");
}

/// For instances that need many nodes, a run without a limit gives the optimum.
#[test]
fn a_thousand_nodes_give_a_batch_and_a_bound_that_hold_on_the_hardest_instances() {
    let mut cut_short = 0;
    for family in [Family::Correlated, Family::Parity, Family::Adversarial, Family::Tight] {
        for seed in 0..20 {
            let instance = generators::draw(family, 30, seed);
            let best = by(Policy::Exact, &instance);
            let answer = Exact::default().solve(&instance, &mut Budget::nodes(1_000));
            assert_eq!(check(&instance, &answer.chosen), Ok(answer.value));
            assert!(answer.value <= best && best <= answer.bound, "{best}: {answer:?}");
            assert!(answer.nodes <= 1_000);
            cut_short += u32::from(!answer.is_optimal());
        }
    }
    assert!(cut_short > 10, "{cut_short}");
}

/// The paper reports 97.92 % less than brute force, with its own way of counting. Here each solver counts every
/// vector of decisions that it visits, and `exact` also every set that it enumerates.
#[test]
fn on_the_papers_structure_dftsp_needs_a_fiftieth_of_brute_force_and_exact_a_tenth_of_that() {
    let (mut brute_force, mut dftsp, mut exact) = (0, 0, 0);
    for seed in 0..20 {
        let instance = generators::draw(Family::Paper, 16, seed);
        let nodes = |policy| solve(&instance, policy, &mut Budget::unlimited()).unwrap().nodes;
        brute_force += nodes(Policy::BruteForce);
        dftsp += nodes(Policy::Dftsp);
        exact += nodes(Policy::Exact);
    }
    println!("nodes over 20 instances: brute-force {brute_force}, dftsp {dftsp}, exact {exact}");
    assert!(dftsp * 10_000 <= brute_force * 208, "dftsp {dftsp} of {brute_force}");
    assert!(exact * 10 <= dftsp, "exact {exact}, dftsp {dftsp}");
}
