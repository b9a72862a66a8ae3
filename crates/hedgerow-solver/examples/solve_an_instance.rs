//! Solves one batching problem by every policy, and says whether the batch is proven to be optimal.
//!
//! cargo run --release -p hedgerow-solver --example solve_an_instance

use hedgerow_solver::{Budget, Capacity, Instance, Item, Policy, Timing, check, solve};

fn main() {
    let request = |memory, compute_ms: u64, slack_ms: u64, value| Item {
        memory,
        compute_us: 1000 * compute_ms,
        slack_us: 1000 * slack_ms,
        value,
        ..Item::default()
    };
    let instance = Instance {
        capacity: Capacity { memory: 100, compute_us: 2_000_000, ..Capacity::default() },
        // Short answers that are due soon, and long ones with time to spare: a batch ends together.
        items: vec![
            request(20, 300, 500, 1),
            request(20, 300, 500, 1),
            request(60, 1500, 5000, 3),
            request(10, 100, 900, 1),
            request(40, 900, 1900, 2),
        ],
        timing: Timing::Together,
    };
    for policy in [Policy::Exact, Policy::Dftsp, Policy::Greedy, Policy::Edf, Policy::Fifo] {
        let answer = solve(&instance, policy, &mut Budget::nodes(100_000)).expect("five requests are few");
        // Checked by code that shares nothing with the solvers.
        let value = check::check(&instance, &answer.chosen).expect("the batch is feasible");
        let proof = if answer.is_optimal() { "optimal" } else { "not proven optimal" };
        println!("{:<6} requests {:?}, value {value}, {proof}", policy.to_string(), answer.chosen);
    }
}
