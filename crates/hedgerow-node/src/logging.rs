//! Logs go to standard error: one line per event, for people or for machines.

use std::io::IsTerminal as _;

use hedgerow_workload::hint::hinted;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Starts logging; `RUST_LOG` overrides the configuration.
///
/// # Errors
///
/// When the level is not a valid filter.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let mut filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    if !filter.contains("llama.cpp") {
        // llama.cpp warns when the KV cache exceeds the model's training context, although no request does.
        filter += ",llama.cpp=error";
    }
    let targets: Targets = filter.parse().map_err(|error| {
        let hint = "use error, warn, info, debug, trace, or a filter such as hedgerow=debug";
        hinted(format!("the log level `{filter}` is not a filter: {error}"), hint)
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let filtered = tracing_subscriber::registry().with(targets);
    // A second start in one process (tests) keeps the first one's settings.
    match config.format {
        LogFormat::Text => drop(filtered.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()),
        LogFormat::Json => drop(filtered.with(lines.json()).try_init()),
    }
    Ok(())
}
