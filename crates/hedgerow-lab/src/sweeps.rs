//! What the commands about sweeps print in the same way.

use hedgerow_sim::sweep::SweepError;
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};

/// Returns a progress bar, which is drawn on a terminal only.
pub(crate) fn cells_bar(cells: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}{bar:40} {pos}/{len} cells, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(cells).with_style(style)
}

/// The error of a sweep, with the way out.
pub(crate) fn with_hint(error: SweepError) -> anyhow::Error {
    let hint = error.hint();
    let message = match std::error::Error::source(&error) {
        // The message contains the scenario's error already.
        Some(source) if !matches!(error, SweepError::Scenario { .. }) => format!("{error}: {source}"),
        Some(_) | None => error.to_string(),
    };
    hinted(message, hint)
}
