//! Simulates the paper's cell under several policies, with the same arrivals for each.
//!
//! cargo run --release -p hedgerow-sim --example simulate_a_cell [scenarios/paper.toml]

use std::path::PathBuf;

use hedgerow_sim::{Overrides, Report, Scenario, Simulation, table};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/paper.toml");
    let path = std::env::args_os().nth(1).map_or_else(|| PathBuf::from(paper), PathBuf::from);
    let scenario = Scenario::load(&path)?;
    let mut reports = Vec::new();
    for policy in ["dftsp", "static:8", "none"] {
        let overrides =
            Overrides { policy: Some(policy.to_owned()), requests: Some(200), ..Overrides::default() };
        let scenario = scenario.clone().with(&overrides)?;
        let run = Simulation::new(&scenario).run(|_| {});
        reports.push(Report::of(&scenario, &run));
    }
    print!("{}", table(&reports));
    Ok(())
}
