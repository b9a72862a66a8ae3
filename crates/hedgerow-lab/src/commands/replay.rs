//! `hedgerow simulate --replay`: replays a server's recording and compares what happened with what the simulator
//! predicts.

use std::fs::{DirEntry, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Instant;
use hedgerow_node::config::number;
use hedgerow_node::console::{Console, Notes};
use hedgerow_node::errors;
use hedgerow_sim::EngineSlowdown;
use hedgerow_sim::replay::{self, Comparison, Difference, Identical, StepTimes, comparison_table};
use hedgerow_solver::Policy;
use hedgerow_workload::Recording;
use hedgerow_workload::hint::hinted;
use serde::Serialize;
use serde_json::json;

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Replay what `hedgerow serve --record` wrote, and compare what happened with what the simulator predicts. For a
    /// folder, its newest recording.
    #[arg(long, value_name = "FILE|FOLDER")]
    replay: Option<PathBuf>,
    /// Plan with this margin instead of the recorded one.
    #[arg(long, value_name = "FRACTION", conflicts_with = "scenario", value_parser = number(0.0..=10.0))]
    margin: Option<f64>,
    /// How long a step takes.
    #[arg(long, value_enum, default_value_t = Cost::Stretched, conflicts_with = "scenario")]
    cost: Cost,
    /// Feed the pipeline exactly the recorded events, the engine's reports included, and check that each request ends
    /// as recorded; the exit code is 1 if one does not.
    #[arg(long, conflicts_with_all = ["scenario", "policy", "margin", "cost"])]
    exact_events: bool,
}

/// How long a step of a replay takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cost {
    /// The recorded cost model's time, scaled by how much longer the recorded steps took than it predicts.
    Stretched,
    /// The recorded cost model's time: what was measured when the server started.
    AsProfiled,
}

/// A comparison as `--json` prints it.
#[derive(Serialize)]
struct Printed<'a> {
    recording: String,
    model: &'a str,
    version: &'a str,
    lines: usize,
    is_whole: bool,
    unfinished: usize,
    steps: u64,
    step_time_taken_s: f64,
    step_time_predicted_s: f64,
    mean_slowdown: f64,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

/// Replays a recording.
///
/// # Errors
///
/// When the file is no recording, or a setting is invalid. A difference found by `--exact-events` ends the program
/// here, with its own exit code.
pub(crate) fn run(
    args: &ReplayArgs,
    policies: &[String],
    json: bool,
    console: &mut Console<'_>,
) -> anyhow::Result<bool> {
    let path = args.replay.as_deref().context("clap asks for a scenario or a recording")?;
    let path = &recording_at(path, console.notes)?;
    let recording = read(path, console.notes)?;
    if args.exact_events {
        return check_exactly(path, &recording, json, console);
    }
    let times = replay::step_times(&recording);
    let slowdown = match args.cost {
        Cost::Stretched => replay::slowdown(&recording),
        Cost::AsProfiled => EngineSlowdown::steady(Factors::ONE),
    };
    let settings = settings(args, policies, &recording)?;
    let comparisons: Vec<_> =
        settings.iter().map(|settings| Comparison::of(&recording, settings, &slowdown)).collect();
    let text = if json {
        let line = |comparison| as_json(path, &recording, times, comparison);
        comparisons.iter().map(line).collect::<anyhow::Result<Vec<_>>>()?.join("\n")
    } else {
        about(&recording, times, slowdown.factors) + "\n" + &comparison_table(&comparisons)
    };
    console.print_line(text)?;
    Ok(true)
}

/// Returns the recording that a path names: the file itself, or the newest non-empty recording of a folder.
///
/// # Errors
///
/// When a folder cannot be read or has no recording.
pub(super) fn recording_at(path: &Path, notes: Notes<'_>) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("reading the folder {}", path.display()))?;
    let recording = |entry: DirEntry| {
        let about = entry.metadata().ok().filter(|about| about.is_file() && about.len() > 0)?;
        let path = entry.path();
        path.extension().is_some_and(|ending| ending == "jsonl").then_some((about.modified().ok()?, path))
    };
    let newest = entries.flatten().filter_map(recording).max();
    let (_, newest) = newest.ok_or_else(|| {
        hinted(
            format!("there is no recording in {}", path.display()),
            format!("`hedgerow serve --record {}/` writes one; end it with Ctrl-C", path.display()),
        )
    })?;
    notes(&format!("the newest recording in {}: {}", path.display(), newest.display()));
    Ok(newest)
}

/// Reads a recording, and warns if it is damaged.
fn read(path: &Path, notes: Notes<'_>) -> anyhow::Result<Recording> {
    let file = File::open(path).map_err(|error| {
        hinted(
            format!("cannot read the recording {}: {error}", path.display()),
            "give a file or a folder that `hedgerow serve --record` wrote to",
        )
    })?;
    let recording = Recording::read(BufReader::new(file))
        .map_err(|error| hinted(format!("{}: {error}", path.display()), error.hint()))?;
    if let Some(damage) = &recording.damage {
        notes(&format!(
            "warning: {}: line {}: {}; the {} lines before it are used",
            path.display(),
            damage.line,
            damage.mistake,
            recording.line_count
        ));
    }
    Ok(recording)
}

/// Returns the recorded settings, once for each policy.
fn settings(args: &ReplayArgs, policies: &[String], recording: &Recording) -> anyhow::Result<Vec<Settings>> {
    let mut common = recording.header.settings.clone();
    if let Some(margin) = args.margin {
        common.margin = margin;
    }
    if policies.is_empty() {
        return Ok(vec![common]);
    }
    let with = |policy: &String| {
        let policy: Policy =
            policy.parse().map_err(|error| hinted(error, "give --policy one or several of these"))?;
        Ok(Settings { policy, ..common.clone() })
    };
    policies.iter().map(with).collect()
}

fn check_exactly(
    path: &Path,
    recording: &Recording,
    json: bool,
    console: &mut Console<'_>,
) -> anyhow::Result<bool> {
    let outcome = replay::exactly(recording);
    if json {
        let line = match &outcome {
            Ok(identical) => json!({ "identical": true, "compared": identical }),
            Err(difference) => json!({ "identical": false, "difference": difference }),
        };
        console.print_line(line)?;
    }
    match outcome {
        Ok(_) if json => Ok(true),
        Ok(Identical { events, records }) => {
            let text = format!("identical: {records} requests ended as recorded, from {events} events");
            console.print_line(text)?;
            Ok(true)
        }
        Err(difference) => {
            console.note(errors::describe(&hinted(explain(path, &difference)?, reason(recording))));
            Ok(false)
        }
    }
}

fn explain(path: &Path, difference: &Difference) -> anyhow::Result<String> {
    let Difference { line, at, event, what } = difference;
    Ok(format!(
        "{}: line {line}: from here on the replay differs, {} s after the start\n  event:   {}\n  differs: {}",
        path.display(),
        at.as_seconds(),
        serde_json::to_string(event)?,
        serde_json::to_string(what)?,
    ))
}

/// Explains why the same events could lead to different decisions.
fn reason(recording: &Recording) -> String {
    let (recorded, own) = (&recording.header.version, env!("CARGO_PKG_VERSION"));
    format!(
        "hedgerow {recorded} recorded it and {own} replayed it: a decision has changed between the two builds, or \
         it depends on more than events and times, which is a bug"
    )
}

fn as_json(
    path: &Path,
    recording: &Recording,
    times: StepTimes,
    comparison: &Comparison,
) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&Printed {
        recording: path.display().to_string(),
        model: &recording.header.model,
        version: &recording.header.version,
        lines: recording.line_count,
        is_whole: recording.damage.is_none(),
        unfinished: replay::unfinished(recording).len(),
        steps: times.steps,
        step_time_taken_s: times.fit.taken_s,
        step_time_predicted_s: times.fit.predicted_s,
        mean_slowdown: times.fit.slowdown(),
        comparison,
    })?)
}

/// Summarizes the recording, and the engine slowdown that it is replayed with.
fn about(recording: &Recording, times: StepTimes, slowdown: Factors) -> String {
    let header = &recording.header;
    let seconds = |at: Option<Instant>| at.unwrap_or_default().as_seconds();
    let (first, last) = (recording.events.first(), recording.events.last());
    let span_s = seconds(last.map(|event| event.at)) - seconds(first.map(|event| event.at));
    let mut text = format!(
        "recorded: {} events in {span_s:.1} s by hedgerow {}, {} under {} with a margin of {}\n",
        recording.events.len(),
        header.version,
        header.model,
        header.settings.policy,
        header.settings.margin,
    );
    text += &format!(
        "steps: {} took {:.3} s, the profile says {:.3} s: {:.3} times as long; replayed at {slowdown}\n",
        times.steps,
        times.fit.taken_s,
        times.fit.predicted_s,
        times.fit.slowdown(),
    );
    let unfinished = replay::unfinished(recording).len();
    if unfinished > 0 {
        text += &format!("not compared: {unfinished} requests that had not ended when the recording stops\n");
    }
    text
}
