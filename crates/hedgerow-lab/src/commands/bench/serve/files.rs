//! The output files, each written atomically.

use std::path::{Path, PathBuf};

use hedgerow_loadgen::{Pattern, Record, milliseconds};
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_workload::hint::hinted;
use serde::Serialize;
use serde_json::Value;

use super::args::ServeArgs;
use super::cells::{Measured, Server};
use super::lines::{Group, Line};
use super::{plot, vllm};
use crate::commands::bench::files::csv_of;

/// Creates every folder that will be written to, before the measurements and not after them.
pub(super) fn make_folders(args: &ServeArgs) -> anyhow::Result<()> {
    let of_files = [&args.json, &args.requests_csv, &args.plot].into_iter().flatten();
    let of_files = of_files.filter_map(|file| file.parent()).filter(|folder| !folder.as_os_str().is_empty());
    for folder in of_files.chain(args.out.as_deref()) {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    }
    Ok(())
}

/// All measurements, raw and aggregated.
pub(super) struct Results<'a> {
    pub(super) servers: &'a [Server],
    pub(super) pattern: &'a Pattern,
    pub(super) measured: &'a [Measured],
    pub(super) groups: &'a [Group],
    pub(super) lines: &'a [Line],
}

/// Writes every requested file, and notes each.
pub(super) fn write_all(
    args: &ServeArgs,
    results: &Results<'_>,
    console: &Console<'_>,
) -> anyhow::Result<()> {
    let in_folder = |name: &str| args.out.as_ref().map(|folder| folder.join(name));
    let write = |named: &Option<PathBuf>, name: &str, text: &dyn Fn() -> anyhow::Result<String>| {
        for path in named.iter().chain(&in_folder(name)) {
            write_whole(path, &text()?).map_err(|error| cannot_write(path, &error))?;
            console.note(format!("wrote {}", path.display()));
        }
        anyhow::Ok(())
    };
    write(&args.json, "runs.json", &|| results.runs_json())?;
    write(&args.requests_csv, "requests.csv", &|| results.requests_csv())?;
    write(&None, "summary.csv", &|| csv_of(results.lines))?;
    write(&args.plot, "plot.svg", &|| Ok(plot::plot(results.servers, results.groups)))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> anyhow::Error {
    hinted(format!("cannot write {}: {error}", path.display()), "name another file or folder")
}

impl Results<'_> {
    fn runs_json(&self) -> anyhow::Result<String> {
        let run = |measured: &Measured| vllm::run(measured, &self.servers[measured.server], self.pattern);
        let runs: Vec<Value> = self.measured.iter().map(run).collect();
        Ok(serde_json::to_string_pretty(&runs)? + "\n")
    }

    fn requests_csv(&self) -> anyhow::Result<String> {
        let rows = self.measured.iter().flat_map(|measured| {
            let row = |(index, record)| self.row(measured, index, record);
            measured.run.records.iter().enumerate().map(row)
        });
        csv_of(&rows.collect::<Vec<_>>())
    }

    fn row<'a>(&'a self, measured: &'a Measured, index: usize, record: &'a Record) -> Row<'a> {
        Row {
            server: &self.servers[measured.server].name,
            load: measured.cell.pressure.to_string(),
            seed: measured.cell.seed,
            clients: measured.cell.offer.patience.name(),
            request: index,
            class: &self.pattern.classes[record.class].name,
            due_ms: milliseconds(record.due),
            sent_ms: milliseconds(record.sent),
            deadline_ms: record.deadline.map(milliseconds),
            prompt_asked: record.prompt_asked,
            output_asked: record.output_asked,
            outcome: record.outcome().name(),
            status: record.heard.status,
            prompt_tokens: record.heard.prompt_tokens,
            output_tokens: record.output_tokens(),
            ttft_ms: record.ttft().map(milliseconds),
            tpot_ms: record.tpot().map(milliseconds),
            after_ms: milliseconds(record.heard.after),
        }
    }
}

/// One line of requests.csv.
#[derive(Serialize)]
struct Row<'a> {
    server: &'a str,
    load: String,
    seed: u64,
    clients: &'static str,
    request: usize,
    class: &'a str,
    due_ms: f64,
    sent_ms: f64,
    deadline_ms: Option<f64>,
    prompt_asked: u32,
    output_asked: u32,
    outcome: &'static str,
    status: Option<u16>,
    prompt_tokens: Option<u32>,
    output_tokens: u32,
    ttft_ms: Option<f64>,
    tpot_ms: Option<f64>,
    /// When the request ended, whatever its outcome.
    after_ms: f64,
}
