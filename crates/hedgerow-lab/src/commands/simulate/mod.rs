//! `hedgerow simulate`: simulates a scenario or a recording in virtual time and reports the outcomes of its requests.

mod plan_times;
mod plot;

use std::path::PathBuf;

use clap::Args;
use hedgerow_core::output::Times;
use hedgerow_node::config::{RATES_PER_S, number};
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_sim::{Output, Outputs, Overrides, Report, Scenario, ScenarioError, Simulation};
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};

use self::plan_times::Timed;
use super::instances::cannot_write;
use super::replay::{self, ReplayArgs};

/// The progress bar is updated once in this many requests, so that drawing takes no significant time.
const PROGRESS_STRIDE: u64 = 256;

/// The arguments of `hedgerow simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The scenario file, such as `scenarios/paper.toml`.
    #[arg(required_unless_present = "replay", conflicts_with = "replay")]
    scenario: Option<PathBuf>,
    /// Use this policy instead of the scenario's or the recording's: brute-force, dftsp, exact, greedy, edf, fifo,
    /// static:SIZE or none:ACCELERATORS. Several, separated by commas, run one after the other, on the same arrivals.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    policy: Vec<String>,
    #[command(flatten)]
    replay: ReplayArgs,
    /// Use this random seed.
    #[arg(long, value_name = "NUMBER", conflicts_with = "replay")]
    seed: Option<u64>,
    /// End after this many requests.
    #[arg(long, value_name = "COUNT", conflicts_with = "replay")]
    requests: Option<u64>,
    /// Arrivals per second.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "replay", value_parser = number(RATES_PER_S))]
    rate: Option<f64>,
    /// Write the results into this folder: requests.csv (a line for each request: when it arrived, started and ended,
    /// how and why), plans.csv (a line for each plan: requests waiting, requests chosen, the binding limit), cdfs.csv
    /// (the distributions of TTFT, TPOT and E2E) and summary.json; with several policies, into one folder each within
    /// it. cdfs.svg draws the distributions of all of them. docs/guides/simulator.md lists every column.
    #[arg(long, value_name = "FOLDER", conflicts_with = "replay")]
    out: Option<PathBuf>,
    /// Write a trace for ui.perfetto.dev or chrome://tracing into this file: each request's phases (waiting, uplink,
    /// prefill, decode, downlink) and each step. About 1 kB a request and 200 B a step; one policy only.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    trace: Option<PathBuf>,
    /// Also write plan_times.csv: how long each plan took on this machine's clock; not reproducible.
    #[arg(long, requires = "out")]
    plan_times: bool,
    /// Print one JSON object for each policy, one a line, instead of a table.
    #[arg(long)]
    json: bool,
}

/// Simulates the scenario or the recording, once for each policy.
pub fn run(args: &SimulateArgs, console: &mut Console<'_>) -> anyhow::Result<bool> {
    let Some(scenario) = &args.scenario else {
        return replay::run(&args.replay, &args.policy, args.json, console);
    };
    let file = Scenario::load(scenario).map_err(with_hint)?;
    // Errors are reported before the first run.
    let scenarios: Vec<_> = overrides(args)
        .iter()
        .map(|overrides| file.clone().with(overrides).map_err(with_hint))
        .collect::<anyhow::Result<_>>()?;
    if args.trace.is_some() && scenarios.len() > 1 {
        return Err(hinted(
            format!("--trace writes one run, but --policy names {}", scenarios.len()),
            "name one policy, or trace each in a run of its own",
        ));
    }
    let mut reports = Vec::new();
    let mut times = Vec::new();
    for scenario in &scenarios {
        let (report, of_run) = play(scenario, args, scenarios.len() > 1, console)?;
        if args.json {
            console.print_line(report.to_json())?;
        }
        // Three times for each request are stored for every policy only if they are drawn.
        times.extend(args.out.as_ref().map(|_| of_run));
        reports.push(report);
    }
    if let Some(folder) = &args.out {
        let path = folder.join("cdfs.svg");
        write_whole(&path, &plot::cdfs(&reports, &times)).map_err(|error| cannot_write(&path, &error))?;
        console.note(format!("wrote {}", path.display()));
    }
    if !args.json {
        console.print_line(hedgerow_sim::table(&reports))?;
    }
    Ok(true)
}

fn overrides(args: &SimulateArgs) -> Vec<Overrides> {
    let common = Overrides { policy: None, seed: args.seed, requests: args.requests, rate_per_s: args.rate };
    if args.policy.is_empty() {
        return vec![common];
    }
    let with = |policy: &String| Overrides { policy: Some(policy.clone()), ..common.clone() };
    args.policy.iter().map(with).collect()
}

fn play(
    scenario: &Scenario,
    args: &SimulateArgs,
    is_one_of_several: bool,
    console: &Console<'_>,
) -> anyhow::Result<(Report, Times)> {
    let folder = args.out.as_ref().map(|folder| match is_one_of_several {
        // A colon is not allowed in a folder's name everywhere.
        true => folder.join(scenario.settings.policy.to_string().replace(':', "-")),
        false => folder.clone(),
    });
    let outputs = Outputs { folder: folder.clone(), trace: args.trace.clone() };
    let mut output = Timed::new(Output::new(scenario, &outputs)?, args.plan_times);
    let bar = progress_bar(scenario);
    Simulation::new(scenario).run_into(&mut output, |ended| {
        if ended.is_multiple_of(PROGRESS_STRIDE) {
            bar.set_position(ended);
        }
    })?;
    bar.finish_and_clear();
    let (output, plan_times) = output.into_parts();
    let (report, times, mut paths) = output.finish(scenario)?;
    if let Some((folder, plan_times)) = folder.zip(plan_times) {
        paths.push(plan_times::write(&folder, &plan_times)?);
    }
    paths.iter().for_each(|path| console.note(format!("wrote {}", path.display())));
    Ok((report, times))
}

/// Returns a progress bar, which is drawn on a terminal only.
fn progress_bar(scenario: &Scenario) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} requests, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(scenario.expected_requests())
        .with_style(style)
        .with_message(scenario.settings.policy.to_string())
}

pub(super) fn with_hint(error: ScenarioError) -> anyhow::Error {
    hinted(&error, error.hint())
}
