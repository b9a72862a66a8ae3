//! `hedgerow simulate`: plays a scenario or a recording in virtual time and says what became of its requests.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use hedgerow_sim::{Overrides, Report, Scenario, ScenarioError, Simulation};
use indicatif::{ProgressBar, ProgressStyle};

use super::replay::{self, ReplayArgs};
use crate::hint::hinted;

/// The progress bar is told about one in so many requests: drawing must not be what takes time.
const PROGRESS_STRIDE: u64 = 256;

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The scenario file, such as `scenarios/paper.toml`.
    #[arg(required_unless_present = "replay", conflicts_with = "replay")]
    scenario: Option<PathBuf>,
    /// Play with this policy instead of the scenario's or the recording's: brute-force, dftsp, exact, greedy, edf, fifo, static:SIZE or
    /// none:ACCELERATORS. Several, separated by commas, are played one after the other, on the same arrivals.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    policy: Vec<String>,
    #[command(flatten)]
    replay: ReplayArgs,
    /// Draw from this seed.
    #[arg(long, value_name = "NUMBER", conflicts_with = "replay")]
    seed: Option<u64>,
    /// End after this many requests.
    #[arg(long, value_name = "COUNT", conflicts_with = "replay")]
    requests: Option<u64>,
    /// Arrivals a second.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "replay")]
    rate: Option<f64>,
    /// Write requests.csv, plans.csv and summary.json into this folder; with several policies, into one folder
    /// each within it.
    #[arg(long, value_name = "FOLDER", conflicts_with = "replay")]
    out: Option<PathBuf>,
    /// Print one JSON object for each policy, one a line, instead of a table.
    #[arg(long)]
    json: bool,
}

/// Plays the scenario or the recording, once for each policy.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    let Some(scenario) = &args.scenario else { return replay::run(&args.replay, &args.policy, args.json) };
    let file = Scenario::load(scenario).map_err(with_hint)?;
    // Whatever is wrong is said before the first of them has run.
    let scenarios: Vec<_> = overrides(args)
        .iter()
        .map(|overrides| file.clone().with(overrides).map_err(with_hint))
        .collect::<anyhow::Result<_>>()?;
    let mut reports = Vec::new();
    for scenario in &scenarios {
        let report = play(scenario, args, scenarios.len() > 1)?;
        if args.json {
            writeln!(std::io::stdout(), "{}", report.to_json())?;
        }
        reports.push(report);
    }
    if !args.json {
        writeln!(std::io::stdout(), "{}", hedgerow_sim::table(&reports))?;
    }
    Ok(())
}

fn overrides(args: &SimulateArgs) -> Vec<Overrides> {
    let common = Overrides { policy: None, seed: args.seed, requests: args.requests, rate_per_s: args.rate };
    if args.policy.is_empty() {
        return vec![common];
    }
    let with = |policy: &String| Overrides { policy: Some(policy.clone()), ..common.clone() };
    args.policy.iter().map(with).collect()
}

fn play(scenario: &Scenario, args: &SimulateArgs, is_one_of_several: bool) -> anyhow::Result<Report> {
    let bar = progress_bar(scenario);
    let run = Simulation::new(scenario).run(|ended| {
        if ended.is_multiple_of(PROGRESS_STRIDE) {
            bar.set_position(ended);
        }
    });
    bar.finish_and_clear();
    let report = Report::of(scenario, &run);
    if let Some(folder) = &args.out {
        let folder = if is_one_of_several {
            // A colon is not allowed in a folder's name everywhere.
            folder.join(report.policy.replace(':', "-"))
        } else {
            folder.clone()
        };
        for path in hedgerow_sim::write_files(&folder, scenario, &run, &report)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(report)
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(scenario: &Scenario) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} requests, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(scenario.expected_requests())
        .with_style(style)
        .with_message(scenario.settings.policy.to_string())
}

fn with_hint(error: ScenarioError) -> anyhow::Error {
    hinted(&error, error.hint())
}
