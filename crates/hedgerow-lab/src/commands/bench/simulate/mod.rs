//! `hedgerow bench simulate`: measures the simulator's speed, and how its time and memory scale with the requests.
//!
//! Each size runs in its own process, one after the other, so that their peak memory is measured separately.

mod heap;
mod plot;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_node::config::{RATES_PER_S, number};
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_node::terminal::fitting;
use hedgerow_sim::{Overrides, Scenario, Simulation, Tally};
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::commands::simulate::with_hint;

/// The most requests of a run.
const REQUESTS_MAX: f64 = 1e9;

/// The arguments of `hedgerow bench simulate`.
///
/// Example: hedgerow bench simulate scenarios/continuous.toml --requests 1e4,1e5,1e6 --plot scaling.svg
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// The scenario file
    #[arg(default_value = "scenarios/continuous.toml")]
    scenario: PathBuf,

    /// How many requests to simulate, such as 1e6; several sizes are separated by commas
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "1e4,1e5", value_parser = requests)]
    requests: Vec<u64>,

    /// Use this policy instead of the scenario's
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,

    /// Arrivals per second, instead of the scenario's
    #[arg(long, value_name = "PER_SECOND", value_parser = number(RATES_PER_S))]
    rate: Option<f64>,

    /// Draw time and memory over the number of requests into this SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Print one JSON object for each size, one a line, instead of a table
    #[arg(long)]
    json: bool,
}

/// The measurement of one size.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Row {
    scenario: String,
    policy: String,
    rate_per_s: f64,
    requests: u64,
    /// How many of them started; requests refused on arrival cost least.
    admitted: u64,
    /// The mean number of requests in a step.
    requests_per_step: Option<f64>,
    steps: u64,
    events: u64,
    time_s: f64,
    requests_per_minute: f64,
    events_per_s: f64,
    /// Events per second of a bare binary heap.
    heap_events_per_s: f64,
    /// The time of an event divided by that of the bare heap.
    times_heap: f64,
    /// The peak memory of the process (`VmHWM`); `None` where the system does not report it.
    memory_peak_bytes: Option<u64>,
}

/// Measures, and reports.
///
/// # Errors
///
/// When the scenario is invalid, a child process fails, or a file cannot be written.
pub(crate) fn run(args: &SimulateArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    // Errors are reported before the first run.
    let scenario = load(args, 0)?;
    let rows = match args.requests.as_slice() {
        &[requests] => vec![measure(&load(args, requests)?)],
        sizes => measure_each(args, &scenario, sizes)?,
    };
    if let Some(path) = &args.plot {
        write_whole(path, &plot::growth(&rows)).map_err(|error| {
            hinted(format!("cannot write {}: {error}", path.display()), "choose another file by `--plot`")
        })?;
        console.note(format!("wrote {}", path.display()));
    }
    let text = match args.json {
        true => rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join("\n"),
        false => table(&rows),
    };
    console.print_line(text)
}

fn load(args: &SimulateArgs, requests: u64) -> anyhow::Result<Scenario> {
    let overrides = Overrides {
        policy: args.policy.clone(),
        rate_per_s: args.rate,
        requests: Some(requests),
        ..Overrides::default()
    };
    Scenario::load(&args.scenario).and_then(|scenario| scenario.with(&overrides)).map_err(with_hint)
}

/// Simulates a scenario and measures its time.
fn measure(scenario: &Scenario) -> Row {
    let mut tally = Tally::default();
    let began = Instant::now();
    let Ok(()) = Simulation::new(scenario).run_into(&mut tally, |_| {});
    let time_s = began.elapsed().as_secs_f64();
    let memory_peak_bytes = memory_peak();
    let events = tally.events();
    let (report, _) = tally.finish(scenario);
    let events_per_s = events as f64 / time_s;
    let heap_events_per_s = heap::events_per_s(events);
    Row {
        scenario: report.scenario,
        policy: report.policy,
        rate_per_s: scenario.users.rate_per_s,
        requests: report.offered,
        admitted: report.admitted,
        requests_per_step: report.requests_per_step,
        steps: report.steps,
        events,
        time_s,
        requests_per_minute: 60.0 * report.offered as f64 / time_s,
        events_per_s,
        heap_events_per_s,
        times_heap: heap_events_per_s / events_per_s,
        memory_peak_bytes,
    }
}

/// Measures each size in its own process.
fn measure_each(args: &SimulateArgs, scenario: &Scenario, sizes: &[u64]) -> anyhow::Result<Vec<Row>> {
    let program = std::env::current_exe().context("finding the program's own file")?;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} sizes, {elapsed}, {msg}")
        .expect("the template is well formed");
    let bar = ProgressBar::new(sizes.len() as u64).with_style(style);
    let mut rows = Vec::new();
    for requests in sizes {
        bar.set_message(format!("{requests} requests of {}", scenario.name));
        let output = command(&program, args, *requests)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("running {}", program.display()))?;
        anyhow::ensure!(output.status.success(), "{requests} requests: {}", output.status);
        rows.push(serde_json::from_slice(&output.stdout).context("reading a child process's measurement")?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(rows)
}

/// Returns the command that measures one size.
fn command(program: &Path, args: &SimulateArgs, requests: u64) -> Command {
    let mut command = Command::new(program);
    command.args(["bench", "simulate", "--json", "--requests", &requests.to_string()]).arg(&args.scenario);
    command.args(args.policy.iter().flat_map(|policy| ["--policy", policy.as_str()]));
    command.args(args.rate.iter().flat_map(|rate| ["--rate".to_owned(), rate.to_string()]));
    command
}

/// Returns this process's peak memory, which Linux reports.
fn memory_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Parses a number of requests: a whole number, also in scientific notation.
fn requests(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(count) if count.fract() == 0.0 && (1.0..=REQUESTS_MAX).contains(&count) => Ok(count as u64),
        _ => Err(format!("must be a whole number from 1 to {REQUESTS_MAX:e}, such as 1e6")),
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "requests",
        "started",
        "/step",
        "events",
        "time s",
        "requests/min",
        "events/s",
        "bare heap/s",
        "ratio",
        "peak MB",
    ]);
    for row in rows {
        let megabytes = row.memory_peak_bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1e6));
        table.add_row([
            row.requests.to_string(),
            row.admitted.to_string(),
            row.requests_per_step.map_or_else(|| "-".into(), |count| format!("{count:.1}")),
            row.events.to_string(),
            format!("{:.2}", row.time_s),
            format!("{:.0}", row.requests_per_minute),
            format!("{:.0}", row.events_per_s),
            format!("{:.0}", row.heap_events_per_s),
            format!("{:.1}", row.times_heap),
            megabytes.unwrap_or_else(|| "-".into()),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let about = rows.first().map(|row| {
        format!("{} at {} requests/s under {}, one core\n", row.scenario, row.rate_per_s, row.policy)
    });
    about.unwrap_or_default() + fitting(&table).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_requests_may_be_a_power_of_ten() {
        assert_eq!(["1e6", "250", "2.5e2"].map(requests), [Ok(1_000_000), Ok(250), Ok(250)]);
        assert!(["0", "1.5", "-3", "1e10", "many"].iter().all(|text| requests(text).is_err()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_the_peak_memory_of_a_process() {
        assert!(memory_peak().unwrap() > 1_000_000);
    }
}
