//! `hedgerow sweep`: simulates many scenarios and summarizes the outcomes, with confidence intervals.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Printed};
use hedgerow_node::console::Console;
use hedgerow_node::terminal::fitting;
use hedgerow_sim::sweep::{Field, Journal, Row, Sweep, Table};

use crate::sweeps::{cells_bar, with_hint};

/// The columns printed for each point, with their decimals; the files have all columns.
const SHOWN: [(&str, usize); 5] =
    [("offered", 0), ("attainment", 3), ("goodput_per_s", 3), ("met_per_epoch", 2), ("ttft_s.p95", 3)];

/// The arguments of `hedgerow sweep`.
#[derive(Debug, Args)]
#[command(after_help = "Example: hedgerow sweep scenarios/sweeps/rates.toml --out out/rates\n\n\
                        docs/guides/sweeps.md says what a sweep file may have.")]
pub struct SweepArgs {
    /// The sweep file, such as `scenarios/sweeps/rates.toml`
    sweep: PathBuf,
    /// Write cells and summary, each as .csv and .parquet, into this folder. Finished cells are saved there at once:
    /// the same command resumes where an earlier one was stopped
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Simulate this many cells in parallel [default: the number of processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Print the summary as JSON, one point a line, instead of a table
    #[arg(long)]
    json: bool,
}

/// Simulates the remaining cells of the sweep, writes its files and prints its summary.
///
/// # Errors
///
/// When the sweep or one of its scenarios is wrong, or a file cannot be written.
pub fn run(args: &SweepArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let sweep = Sweep::load(&args.sweep).map_err(with_hint)?;
    let rows = match &args.out {
        None => play(&sweep, args, None, console)?,
        Some(folder) => {
            let mut journal = Journal::open(folder, &sweep).map_err(with_hint)?;
            let rows = play(&sweep, args, Some(&mut journal), console)?;
            journal.finish().map_err(with_hint)?;
            rows
        }
    };
    let (cells, summary) = (Table::of_cells(&sweep, &rows), Table::over_seeds(&sweep, &rows));
    if let Some(folder) = &args.out {
        for (table, name) in [(&cells, "cells"), (&summary, "summary")] {
            table.write(folder, name).map_err(with_hint)?;
            console.note(format!("wrote {0}.csv and {0}.parquet", folder.join(name).display()));
        }
    }
    let text = if args.json { json(&summary)? } else { printed(&summary) };
    console.print_line(text)
}

/// Returns the given number of threads, or else the number of processors.
pub(crate) fn jobs_or_all(jobs: Option<NonZero<usize>>) -> NonZero<usize> {
    jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
}

fn play(
    sweep: &Sweep,
    args: &SweepArgs,
    mut journal: Option<&mut Journal>,
    console: &Console<'_>,
) -> anyhow::Result<Vec<Row>> {
    let done = journal.as_ref().map(|journal| journal.done().clone()).unwrap_or_default();
    if !done.is_empty() {
        console.note(format!("{} of {} cells were done before", done.len(), sweep.cells().len()));
    }
    let bar = cells_bar(sweep.cells().len() as u64);
    bar.set_position(done.len() as u64);
    // The remaining time is estimated from this run alone.
    bar.reset_eta();
    let rows = sweep.play(&done, jobs_or_all(args.jobs), |cell, row| {
        bar.inc(1);
        journal.as_mut().map_or(Ok(()), |journal| journal.add(cell, row))
    });
    bar.finish_and_clear();
    rows.map_err(with_hint)
}

/// Formats each point's labels, and a few of its numbers with their confidence intervals.
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
            // The interval is in the column after its mean.
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
