//! Draws the first instances of a family and solves each once; `cargo xtask instructions` counts its instructions.
//!
//! ```sh
//! cargo run --release -p hedgerow-sim --example solve_family -- tight 100 10 exact
//! ```
//!
//! With the solver `draw-only` instances are only drawn, so that the cost of drawing can be subtracted.

use std::process::ExitCode;

use hedgerow_sim::generators::{self, Family};
use hedgerow_solver::{Budget, Policy};

/// Node limit for the hardest instances; deterministic, unlike a time limit.
const NODES_MAX: u64 = 200_000;

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<String>>()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}\n\nusage: solve_family FAMILY REQUESTS SEEDS SOLVER|draw-only");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let [family, requests, seeds, solver] = arguments else { return Err("it takes four arguments".into()) };
    let (family, requests, seeds) = (family.parse::<Family>()?, requests.parse::<usize>()?, seeds.parse()?);
    let policy: Option<Policy> = if solver == "draw-only" { None } else { Some(solver.parse()?) };
    let (mut items, mut value, mut proven) = (0, 0, 0);
    for seed in 0..seeds {
        let instance = generators::draw(family, requests, seed);
        items += instance.items.len();
        if let Some(policy) = policy {
            let answer = hedgerow_solver::solve(&instance, policy, &mut Budget::nodes(NODES_MAX))?;
            value += answer.value;
            proven += u64::from(answer.is_optimal());
        }
    }
    // Printing the results prevents the compiler from removing the work, and shows a change of the answers.
    Ok(format!("{seeds} instances of {items} requests, value {value}, {proven} proven"))
}
