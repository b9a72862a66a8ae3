//! The files of a run: all requests, all plans, the distributions and the summary.
//!
//! Numbers have fixed decimals, so that the same run gives the same bytes: times are whole nanoseconds and shares
//! whole billionths, written without loss.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use hedgerow_core::allocator::Grant;
use hedgerow_core::engine::EndReason;
use hedgerow_core::node::Node;
use hedgerow_core::output::{Outcome, Record, Times};
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{Instant, Span};
use hedgerow_solver::Limit;

use super::{Report, cdf, is_proven};

/// The error of a result file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

const REQUESTS_HEADER: [&str; 18] = [
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
    "uplink_end_s",
    "first_token_s",
    "last_token_s",
    "end_s",
    "precision",
    "uplink_share",
    "downlink_share",
    "memory_bytes",
];

const PLANS_HEADER: [&str; 12] = [
    "time_s",
    "waiting",
    "accepted",
    "nodes",
    "value",
    "bound",
    "proven",
    "binding",
    "started",
    "uplink_share",
    "downlink_share",
    "memory_bytes",
];

const CDFS_HEADER: [&str; 4] = ["metric", "time_s", "part_of_measured", "part_of_offered"];

/// A file that is written under a temporary name and renamed when complete, so that it appears whole or not at all.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    to: BufWriter<File>,
    is_complete: bool,
}

impl Part {
    pub(super) fn create(path: PathBuf) -> Result<Self, FileError> {
        match File::create(unfinished(&path)) {
            Ok(file) => Ok(Self { path, to: BufWriter::new(file), is_complete: false }),
            Err(source) => Err(FileError { path, source }),
        }
    }

    pub(super) fn finish(mut self) -> Result<PathBuf, FileError> {
        let finished = self.to.flush().and_then(|()| std::fs::rename(unfinished(&self.path), &self.path));
        self.is_complete = finished.is_ok();
        let path = self.path.clone();
        finished.map(|()| path.clone()).map_err(|source| FileError { path, source })
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_complete {
            // The file may be gone already, and the cause has been reported.
            let _ = std::fs::remove_file(unfinished(&self.path));
        }
    }
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_added_extension("part")
}

/// The CSV tables of a run, written during the run.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    requests: Table,
    plans: Table,
    /// The latest plan, the number of requests it started and their total grant; its row is written with the next.
    plan: Option<(PlanReport, u64, Grant)>,
    uplink_slot: Span,
    precisions: Vec<String>,
}

impl Files {
    pub(super) fn create(folder: &Path, node: &Node) -> Result<Self, FileError> {
        std::fs::create_dir_all(folder).map_err(|source| FileError { path: folder.to_owned(), source })?;
        Ok(Self {
            requests: Table::create(folder.join("requests.csv"), REQUESTS_HEADER)?,
            plans: Table::create(folder.join("plans.csv"), PLANS_HEADER)?,
            folder: folder.to_owned(),
            plan: None,
            uplink_slot: node.uplink_slot(),
            precisions: node.precisions.iter().map(|precision| precision.name.clone()).collect(),
        })
    }

    pub(super) fn planned(&mut self, plan: &PlanReport) -> Result<(), FileError> {
        let before = self.plan.replace((*plan, 0, Grant::default()));
        before.map_or(Ok(()), |(plan, started, granted)| self.plans.put(plan_row(&plan, started, &granted)))
    }

    /// Adds the grant of a request that the latest plan started.
    pub(super) fn started(&mut self, grant: &Grant) {
        if let Some((_, started, granted)) = &mut self.plan {
            *started += 1;
            granted.uplink = granted.uplink + grant.uplink;
            granted.downlink = granted.downlink + grant.downlink;
            granted.memory = granted.memory + grant.memory;
        }
    }

    pub(super) fn ended(&mut self, record: &Record) -> Result<(), FileError> {
        self.requests.put(request_row(record, self.uplink_slot, &self.precisions))
    }

    /// Writes the files that are known only at the end, and returns the paths of all files.
    pub(super) fn finish(mut self, report: &Report, times: &Times) -> Result<Vec<PathBuf>, FileError> {
        if let Some((plan, started, granted)) = self.plan.take() {
            self.plans.put(plan_row(&plan, started, &granted))?;
        }
        let mut cdfs = Table::create(self.folder.join("cdfs.csv"), CDFS_HEADER)?;
        cdf::rows(times, report.offered).try_for_each(|row| cdfs.put(row))?;
        let path = self.folder.join("summary.json");
        let mut summary = Part::create(path.clone())?;
        writeln!(summary, "{}", report.to_json()).map_err(|source| FileError { path, source })?;
        Ok(vec![self.requests.finish()?, self.plans.finish()?, cdfs.finish()?, summary.finish()?])
    }
}

/// A CSV file.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    rows: csv::Writer<Part>,
}

impl Table {
    fn create<const N: usize>(path: PathBuf, header: [&str; N]) -> Result<Self, FileError> {
        let mut table = Self { rows: csv::Writer::from_writer(Part::create(path.clone())?), path };
        table.put(header)?;
        Ok(table)
    }

    fn put<const N: usize>(&mut self, row: [impl AsRef<[u8]>; N]) -> Result<(), FileError> {
        self.rows
            .write_record(row)
            .map_err(|error| FileError { path: self.path.clone(), source: error.into() })
    }

    fn finish(self) -> Result<PathBuf, FileError> {
        match self.rows.into_inner() {
            Ok(part) => part.finish(),
            Err(error) => Err(FileError { path: self.path, source: error.into_error() }),
        }
    }
}

fn request_row(record: &Record, uplink_slot: Span, precisions: &[String]) -> [String; 18] {
    let Record { request, grant, .. } = record;
    // A request that ends before the end of its uplink slot has no uplink end.
    let uplink_end = record.started.map(|at| at + uplink_slot).filter(|&at| at <= record.ended);
    [
        request.id.0.to_string(),
        seconds(request.arrived),
        request.prompt_len.0.to_string(),
        request.max_output.0.to_string(),
        record.produced.0.to_string(),
        moment(request.deadline),
        format!("{:.9}", request.min_quality.get()),
        record.outcome.name().to_owned(),
        reason(&record.outcome),
        moment(record.started),
        moment(uplink_end),
        moment(record.first_token),
        moment(record.last_token),
        seconds(record.ended),
        record.precision.map(|index| precisions[index.0].clone()).unwrap_or_default(),
        billionths(grant.uplink.0),
        billionths(grant.downlink.0),
        grant.memory.0.to_string(),
    ]
}

fn plan_row(plan: &PlanReport, started: u64, granted: &Grant) -> [String; 12] {
    [
        seconds(plan.at),
        plan.waiting.to_string(),
        plan.accepted.to_string(),
        plan.nodes.to_string(),
        plan.value.to_string(),
        plan.bound.to_string(),
        is_proven(plan).to_string(),
        plan.binding.map_or("none", Limit::name).to_owned(),
        started.to_string(),
        billionths(granted.uplink.0),
        billionths(granted.downlink.0),
        granted.memory.0.to_string(),
    ]
}

/// The reason of an outcome, where the outcome's name does not contain it.
pub(super) fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Met(EndReason::Stop | EndReason::StopText)
        | Outcome::Late(EndReason::Stop | EndReason::StopText) => "stop".into(),
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

/// Formats billionths from the integer; a float would lose the last digits of a long run.
pub(super) fn billionths(value: u64) -> String {
    format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000)
}
