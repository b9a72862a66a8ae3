//! Writes the files of `--out`.

use std::path::Path;

use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;

use super::measure::Run;
use super::plot;
use super::summary::Report;
use crate::commands::bench::files::csv_of;
use crate::commands::instances::cannot_write;

/// Creates the folder.
pub(super) fn make(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))
}

/// Writes every file, and notes each.
pub(super) fn write_all(
    folder: &Path,
    report: &Report,
    runs: &[Run],
    console: &Console<'_>,
) -> anyhow::Result<()> {
    let files = [
        ("summary.csv", csv_of(&report.rows)?),
        ("runs.csv", csv_of(runs)?),
        ("summary.json", report.to_json() + "\n"),
        ("times.svg", plot::times(report)),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        write_whole(&path, &text).map_err(|error| cannot_write(&path, &error))?;
        console.note(format!("wrote {}", path.display()));
    }
    Ok(())
}
