//! Writes the files of `--out`.

use std::path::Path;

use super::measure::Run;
use super::plot;
use super::summary::Report;
use crate::cli::bench::files::csv_of;
use crate::cli::instances::{cannot_write, write_whole};

/// Creates the folder.
pub(super) fn make(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))
}

/// Writes every file, and reports each on standard error.
pub(super) fn write_all(folder: &Path, report: &Report, runs: &[Run]) -> anyhow::Result<()> {
    let files = [
        ("summary.csv", csv_of(&report.rows)?),
        ("runs.csv", csv_of(runs)?),
        ("summary.json", report.to_json() + "\n"),
        ("times.svg", plot::times(report)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        write_whole(&path, &text).map_err(|error| cannot_write(&path, &error))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
