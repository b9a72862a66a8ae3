//! A run in files: every request, every plan, and the summary.
//!
//! Numbers have fixed decimals, so that the same run gives the same bytes: times are whole nanoseconds
//! and shares whole billionths, and nothing of them is lost.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hedgerow_core::allocator::Share;
use hedgerow_core::engine::EndReason;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::scheduler::{Limit, PlanReport};
use hedgerow_core::time::Instant;

use super::{Report, is_proven};
use crate::scenario::Scenario;
use crate::simulation::Run;

/// A result that could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

const REQUESTS_HEADER: [&str; 17] = [
    "id",
    "arrival_s",
    "prompt",
    "max_output",
    "produced",
    "deadline_s",
    "min_quality",
    "outcome",
    "reason",
    "start_s",
    "first_token_s",
    "last_token_s",
    "end_s",
    "precision",
    "uplink_share",
    "downlink_share",
    "memory_bytes",
];

const PLANS_HEADER: [&str; 8] =
    ["time_s", "waiting", "accepted", "nodes", "value", "bound", "proven", "binding"];

/// Writes `requests.csv`, `plans.csv` and `summary.json` into a folder, which is made if need be, and
/// says where they are. Each file appears whole or not at all.
///
/// # Errors
///
/// When the folder or a file cannot be written.
pub fn write_files(
    folder: &Path,
    scenario: &Scenario,
    run: &Run,
    report: &Report,
) -> Result<Vec<PathBuf>, FileError> {
    std::fs::create_dir_all(folder).map_err(|source| FileError { path: folder.to_owned(), source })?;
    let requests = run.records.iter().map(|record| request_row(record, scenario));
    let plans = run.plans.iter().map(plan_row);
    Ok(vec![
        write_whole(folder.join("requests.csv"), |file| write_csv(file, REQUESTS_HEADER, requests))?,
        write_whole(folder.join("plans.csv"), |file| write_csv(file, PLANS_HEADER, plans))?,
        write_whole(folder.join("summary.json"), |file| writeln!(file, "{}", report.to_json()))?,
    ])
}

/// Writes a file under another name and renames it when it is complete.
fn write_whole(
    path: PathBuf,
    write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<()>,
) -> Result<PathBuf, FileError> {
    let unfinished = path.with_added_extension("part");
    let written = File::create(&unfinished).and_then(|file| {
        let mut file = io::BufWriter::new(file);
        write(&mut file)?;
        file.flush()?;
        std::fs::rename(&unfinished, &path)
    });
    match written {
        Ok(()) => Ok(path),
        Err(source) => {
            // It may not even exist; the first error is the one to tell.
            let _ = std::fs::remove_file(&unfinished);
            Err(FileError { path, source })
        }
    }
}

fn write_csv<const N: usize>(
    file: impl Write,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.flush()
}

fn request_row(record: &Record, scenario: &Scenario) -> [String; 17] {
    let Record { request, grant, .. } = record;
    let precision = record.precision.map(|index| scenario.node.precisions[index.0].name.clone());
    [
        request.id.0.to_string(),
        seconds(request.arrived),
        request.prompt.0.to_string(),
        request.max_output.0.to_string(),
        record.produced.0.to_string(),
        moment(request.deadline),
        format!("{:.9}", request.min_quality.get()),
        record.outcome.name().to_owned(),
        reason(&record.outcome),
        moment(record.started),
        moment(record.first_token),
        moment(record.last_token),
        seconds(record.ended),
        precision.unwrap_or_default(),
        share(grant.uplink),
        share(grant.downlink),
        grant.memory.0.to_string(),
    ]
}

fn plan_row(plan: &PlanReport) -> [String; 8] {
    [
        seconds(plan.at),
        plan.waiting.to_string(),
        plan.accepted.to_string(),
        plan.nodes.to_string(),
        plan.value.to_string(),
        plan.bound.to_string(),
        is_proven(plan).to_string(),
        plan.binding.map_or("none", Limit::name).to_owned(),
    ]
}

/// Why it ended that way, where the outcome alone does not say it.
fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Met(EndReason::Stop) | Outcome::Late(EndReason::Stop) => "stop".into(),
        Outcome::Met(EndReason::Length) | Outcome::Late(EndReason::Length) => "length".into(),
        Outcome::Rejected(rejection) => rejection.code().into(),
        Outcome::Failed(error) => error.to_string(),
        Outcome::Expired | Outcome::Cancelled | Outcome::ShutDown => String::new(),
    }
}

fn moment(at: Option<Instant>) -> String {
    at.map(seconds).unwrap_or_default()
}

/// Seconds from the scenario's start, to the nanosecond.
fn seconds(at: Instant) -> String {
    billionths(at.0)
}

fn share(share: Share) -> String {
    billionths(share.0)
}

/// Written from the integer: a float would lose the last digits of a long run.
fn billionths(value: u64) -> String {
    format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000)
}
