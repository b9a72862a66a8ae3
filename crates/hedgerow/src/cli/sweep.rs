//! `hedgerow sweep`: plays many scenarios and says what became of their requests, with confidence intervals.

use std::io::Write as _;
use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Printed};
use hedgerow_sim::sweep::{Field, Journal, Row, Sweep, SweepError, Table};
use indicatif::{ProgressBar, ProgressStyle};

use super::columns::fitting;
use crate::hint::hinted;

/// What is printed of each point, with its decimals; the files have all.
const SHOWN: [(&str, usize); 5] =
    [("offered", 0), ("attainment", 3), ("goodput_per_s", 3), ("met_per_epoch", 2), ("ttft_s.p95", 3)];

/// What `hedgerow sweep` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: hedgerow sweep scenarios/sweeps/rates.toml --out out/rates\n\n\
                        docs/sweeps.md says what a sweep file may have.")]
pub(crate) struct SweepArgs {
    /// The sweep file, such as `scenarios/sweeps/rates.toml`
    sweep: PathBuf,
    /// Write cells and summary, each as .csv and .parquet, into this folder. What is done is kept there as it
    /// comes: the same command goes on where an earlier one was stopped
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Play so many cells at once; by default as many as there are processors
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Print the summary as JSON, one point a line, instead of a table
    #[arg(long)]
    json: bool,
}

/// Plays what is left of the sweep, writes its files and prints its summary.
///
/// # Errors
///
/// When the sweep or one of its scenarios is wrong, or a file cannot be written.
pub(crate) fn run(args: &SweepArgs) -> anyhow::Result<()> {
    let sweep = Sweep::load(&args.sweep).map_err(with_hint)?;
    let rows = match &args.out {
        None => play(&sweep, args, None)?,
        Some(folder) => {
            let mut journal = Journal::open(folder, &sweep).map_err(with_hint)?;
            let rows = play(&sweep, args, Some(&mut journal))?;
            journal.finish().map_err(with_hint)?;
            rows
        }
    };
    let (cells, summary) = (Table::of_cells(&sweep, &rows), Table::over_seeds(&sweep, &rows));
    if let Some(folder) = &args.out {
        for (table, name) in [(&cells, "cells"), (&summary, "summary")] {
            table.write(folder, name).map_err(with_hint)?;
            eprintln!("wrote {0}.csv and {0}.parquet", folder.join(name).display());
        }
    }
    let text = if args.json { json(&summary)? } else { printed(&summary) };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// As many threads as there are processors, unless said otherwise.
pub(crate) fn jobs_or_all(jobs: Option<NonZero<usize>>) -> NonZero<usize> {
    jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
}

fn play(sweep: &Sweep, args: &SweepArgs, mut journal: Option<&mut Journal>) -> anyhow::Result<Vec<Row>> {
    let done = journal.as_ref().map(|journal| journal.done().clone()).unwrap_or_default();
    if !done.is_empty() {
        eprintln!("{} of {} cells were done before", done.len(), sweep.cells().len());
    }
    let bar = cells_bar(sweep.cells().len() as u64);
    bar.set_position(done.len() as u64);
    // The time left is told from now on, not from what was done before.
    bar.reset_eta();
    let rows = sweep.play(&done, jobs_or_all(args.jobs), |cell, row| {
        bar.inc(1);
        journal.as_mut().map_or(Ok(()), |journal| journal.add(cell, row))
    });
    bar.finish_and_clear();
    rows.map_err(with_hint)
}

/// A bar on a terminal, nothing elsewhere.
pub(crate) fn cells_bar(cells: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}{bar:40} {pos}/{len} cells, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(cells).with_style(style)
}

pub(crate) fn with_hint(error: SweepError) -> anyhow::Error {
    let hint = error.hint();
    let message = match std::error::Error::source(&error) {
        // The scenario's error stands in the message already.
        Some(source) if !matches!(error, SweepError::Scenario { .. }) => format!("{error}: {source}"),
        Some(_) | None => error.to_string(),
    };
    hinted(message, hint)
}

/// Of each point what tells it from the others, and a few of its numbers with their confidence intervals.
fn printed(summary: &Table) -> String {
    let shown: Vec<(usize, usize)> = SHOWN
        .iter()
        .filter_map(|&(name, decimals)| Some((summary.column(name)?, decimals)))
        .filter(|&(column, _)| summary.rows.iter().any(|row| row[column] != Field::Missing))
        .collect();
    let mut table = Printed::new();
    table.load_style(NOTHING);
    let labels = &summary.names[..summary.labels];
    table.set_header(labels.iter().chain(shown.iter().map(|&(column, _)| &summary.names[column])));
    for row in &summary.rows {
        let labels = row[..summary.labels].iter().map(Field::to_string);
        let numbers = shown.iter().map(|&(column, decimals)| {
            // The interval stands right of its mean.
            match (row[column].number(), row[column + 1].number()) {
                (Some(mean), Some(half)) if half > 0.0 => format!("{mean:.decimals$} ± {half:.decimals$}"),
                (Some(mean), _) => format!("{mean:.decimals$}"),
                (None, _) => "-".into(),
            }
        });
        table.add_row(labels.chain(numbers));
    }
    for column in table.column_iter_mut().skip(summary.labels) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    fitting(&table).trim_end().to_owned()
}

fn json(summary: &Table) -> anyhow::Result<String> {
    let line = |row: &Vec<Field>| {
        let object: serde_json::Map<String, serde_json::Value> = summary
            .names
            .iter()
            .zip(row)
            .map(|(name, field)| Ok((name.clone(), serde_json::to_value(field)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        serde_json::to_string(&object)
    };
    Ok(summary.rows.iter().map(line).collect::<Result<Vec<_>, _>>()?.join("\n"))
}
