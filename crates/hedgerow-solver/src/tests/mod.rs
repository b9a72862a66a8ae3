//! Tests of the solvers against each other, against `check`, and against the claims in their documentation.

mod bounds;
mod budgets;
mod dftsp;
mod draw;
mod exact;
mod exactness;
mod greedy;
mod instances;
mod names;
mod pruning;
mod solvers;

use super::*;

/// Every policy, with small numbers where it takes one.
const POLICIES: [Policy; 9] = [
    Policy::BruteForce,
    Policy::Dftsp,
    Policy::Exact,
    Policy::Greedy,
    Policy::Edf,
    Policy::Fifo,
    Policy::Static { size: 2 },
    Policy::None { accelerators: 1 },
    Policy::None { accelerators: 3 },
];

/// The optimal value, by brute force.
fn best_value(instance: &Instance) -> u128 {
    let answer = solve(instance, Policy::BruteForce, &mut Budget::unlimited()).unwrap();
    assert!(answer.is_optimal());
    answer.value
}

fn dftsp_with(instance: &Instance, rules: Rules) -> Answer {
    super::dftsp(instance, &mut Budget::unlimited(), rules)
}

/// Asserts that the answer is a feasible batch with a correct value and bound.
fn assert_sound(instance: &Instance, answer: &Answer, best: u128) {
    assert_eq!(check::check(instance, &answer.chosen), Ok(answer.value), "{instance:#?}");
    assert!(answer.value <= best && best <= answer.bound, "best {best}, {answer:?}\n{instance:#?}");
}
