//! Logs go to standard error: one line per event, for people or for machines.
//!
//! A thread of its own writes them, and drops lines when standard error does not take them (a log reader that is stuck or
//! gone, a full disk), so that no request ever waits for its log line or fails with it.

use std::io::IsTerminal as _;

use hedgerow_workload::hint::hinted;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Lines that wait to be written; further ones are dropped. Some megabytes at most.
const LINES_WAITING_MAX: usize = 8192;

/// Keeps the log's thread running; when it is dropped, the waiting lines are written, for at most a second.
#[must_use = "lines that are not written yet are lost without it"]
pub struct Logging {
    _writer: WorkerGuard,
    /// `None`: another start in this process was first.
    filter: Option<reload::Handle<Targets, Registry>>,
}

impl Logging {
    /// Changes what is logged; `RUST_LOG` overrides the configuration.
    ///
    /// # Errors
    ///
    /// When the level is not a valid filter; then the one in force remains.
    pub fn set_filter(&self, config: &LogConfig) -> anyhow::Result<()> {
        let targets = targets(config)?;
        if let Some(filter) = &self.filter {
            filter.reload(targets)?;
        }
        Ok(())
    }
}

/// Starts logging until the returned value is dropped; `RUST_LOG` overrides the configuration. From now on a panic is
/// logged like any other error.
///
/// # Errors
///
/// When the level is not a valid filter.
pub fn start(config: &LogConfig) -> anyhow::Result<Logging> {
    let (targets, handle) = reload::Layer::new(targets(config)?);
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES_WAITING_MAX).finish(std::io::stderr());
    // An error in formatting a line would otherwise be reported on standard error, which panics where that is broken.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let filtered = tracing_subscriber::registry().with(targets);
    // A second start in one process (tests) keeps the first one's settings.
    let is_first = match config.format {
        LogFormat::Text => filtered.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init().is_ok(),
        LogFormat::Json => filtered.with(lines.json()).try_init().is_ok(),
    };
    if is_first {
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let place = panic.location().map(ToString::to_string);
            let message = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(thread = thread.name(), place, "panic: {message}");
        }));
    }
    Ok(Logging { _writer: guard, filter: is_first.then_some(handle) })
}

/// The filter of the configuration, or that of `RUST_LOG`.
fn targets(config: &LogConfig) -> anyhow::Result<Targets> {
    let mut filter = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    if !filter.contains("llama.cpp") {
        // llama.cpp warns when the KV cache exceeds the model's training context, although no request does.
        filter += ",llama.cpp=error";
    }
    filter.parse::<Targets>().map_err(|error| {
        let hint = "use error, warn, info, debug, trace, or a filter such as hedgerow=debug";
        hinted(format!("the log level `{filter}` is not a filter: {error}"), hint)
    })
}
