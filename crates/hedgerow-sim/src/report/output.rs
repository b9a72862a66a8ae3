//! Streaming output of a run: report, files and trace.

use std::path::{Path, PathBuf};

use hedgerow_core::engine::Step;
use hedgerow_core::output::{Record, Times};
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{Instant, Span};

use super::files::{FileError, Files, Part};
use super::trace::Trace;
use super::{Report, Tally};
use crate::scenario::Scenario;
use crate::sink::{Run, Sink};

/// What to write besides the report.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The folder for `requests.csv`, `plans.csv`, `cdfs.csv` and `summary.json`; it is created if missing.
    pub folder: Option<PathBuf>,
    /// The file for a trace of every request and step.
    pub trace: Option<PathBuf>,
}

/// A sink that sums up a run and writes its files while it runs. Each file appears complete at the end, or not at
/// all.
#[derive(Debug)]
pub struct Output {
    tally: Tally,
    files: Option<Files>,
    trace: Option<Trace<Part>>,
    trace_path: PathBuf,
}

impl Output {
    /// Creates the output of a scenario's run.
    ///
    /// # Errors
    ///
    /// When the folder or a file cannot be written.
    pub fn new(scenario: &Scenario, outputs: &Outputs) -> Result<Self, FileError> {
        let files =
            outputs.folder.as_deref().map(|folder| Files::create(folder, &scenario.node)).transpose()?;
        let trace_path = outputs.trace.clone().unwrap_or_default();
        let trace = match &outputs.trace {
            Some(path) => {
                let begun = Trace::new(Part::create(path.clone())?, &scenario.node);
                Some(begun.map_err(|source| FileError { path: path.clone(), source })?)
            }
            None => None,
        };
        Ok(Self { tally: Tally::default(), files, trace, trace_path })
    }

    /// Completes the output; returns the report, the times behind its percentiles and the paths of the files.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn finish(self, scenario: &Scenario) -> Result<(Report, Times, Vec<PathBuf>), FileError> {
        let Self { tally, files, trace, trace_path } = self;
        let (report, times) = tally.finish(scenario);
        let mut paths = files.map_or(Ok(Vec::new()), |files| files.finish(&report, &times))?;
        if let Some(trace) = trace {
            let part = trace.finish().map_err(|source| FileError { path: trace_path, source })?;
            paths.push(part.finish()?);
        }
        Ok((report, times, paths))
    }

    fn draw(&mut self, draw: impl FnOnce(&mut Trace<Part>) -> std::io::Result<()>) -> Result<(), FileError> {
        let drawn = self.trace.as_mut().map_or(Ok(()), draw);
        drawn.map_err(|source| FileError { path: self.trace_path.clone(), source })
    }
}

impl Sink for Output {
    type Error = FileError;

    fn decided(&mut self) {
        self.tally.note_event();
    }

    fn planned(&mut self, plan: &PlanReport) -> Result<(), FileError> {
        self.tally.note_plan(plan);
        self.files.as_mut().map_or(Ok(()), |files| files.planned(plan))?;
        self.draw(|trace| trace.plan(plan))
    }

    fn started(&mut self, running: &Running) -> Result<(), FileError> {
        self.files.iter_mut().for_each(|files| files.started(&running.grant));
        Ok(())
    }

    fn stepped(&mut self, at: Instant, took: Span, step: &Step) -> Result<(), FileError> {
        self.tally.note_step(step);
        self.draw(|trace| trace.step(at, took, step))
    }

    fn ended(&mut self, record: Record) -> Result<(), FileError> {
        self.tally.note_end(&record);
        self.files.as_mut().map_or(Ok(()), |files| files.ended(&record))?;
        self.draw(|trace| trace.request(&record))
    }
}

/// Writes `requests.csv`, `plans.csv`, `cdfs.csv` and `summary.json` of a run in memory to a folder, which is created
/// if missing, and returns their paths. The files have the same bytes as those of [`Output`].
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
    let mut files = Files::create(folder, &scenario.node)?;
    // A request belongs to the last plan before its start, because a plan precedes the starts it causes.
    let mut starts: Vec<_> =
        run.records.iter().filter_map(|record| Some((record.started?, &record.grant))).collect();
    starts.sort_by_key(|(at, _)| *at);
    let mut starts = starts.into_iter().peekable();
    for plan in &run.plans {
        while let Some((_, grant)) = starts.next_if(|(at, _)| *at < plan.at) {
            files.started(grant);
        }
        files.planned(plan)?;
    }
    starts.for_each(|(_, grant)| files.started(grant));
    run.records.iter().try_for_each(|record| files.ended(record))?;
    let mut tally = hedgerow_core::output::Tally::default();
    run.records.iter().for_each(|record| tally.note(record));
    files.finish(report, &tally.finish().1)
}
