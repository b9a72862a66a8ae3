//! Finds problems that prevent or impair serving on this machine, before anything is loaded.
//!
//! - takes: a configuration, or the error from reading one
//! - gives: a [`Finding`] for each check: ok, a warning or an error, with a remedy
//! - never: changes anything, except that the check of the kernels saves its verdict as `serve` does
//!
//! Read [`examine`] first: a check is a function of the `Examined`, in `machine`, `limits` or `model`.

mod limits;
mod machine;
mod model;

use std::path::PathBuf;

use serde::Serialize;

use crate::config::Config;
use crate::errors;
use crate::host::{Cpus, Root};
use crate::models::{FetchOptions, FetchedModel, ModelSource, fetch};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No problem.
    Ok,
    /// The server runs, but more slowly or with fewer capabilities than possible.
    Warning,
    /// The server does not start or does not serve.
    Error,
}

impl State {
    /// The printed name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable name.
    pub check: &'static str,
    /// Whether the result is a problem, and how severe it is.
    pub state: State,
    /// The result, in one line.
    pub found: String,
    /// The remedy for a warning or an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), way_out: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { check, state: State::Warning, found: found.into(), way_out: Some(way_out.into()) }
    }

    fn error(check: &'static str, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { check, state: State::Error, found: found.into(), way_out: Some(way_out.into()) }
    }

    fn of_error(check: &'static str, error: &anyhow::Error) -> Self {
        let way_out = errors::hint_of(error).unwrap_or_else(|| "see the message".to_owned());
        Self::error(check, format!("{error:#}"), way_out)
    }
}

/// Input of the checks.
struct Examined<'a> {
    config: &'a Config,
    root: Root,
    cpus: Cpus,
    /// The configured model and its other precisions, where they are on this disk.
    models: Vec<FetchedModel>,
}

/// Runs every check that the configuration allows; without a configuration, those that need none.
pub fn examine(config: anyhow::Result<(Config, Option<PathBuf>)>, verify: bool) -> Vec<Finding> {
    let mut findings = vec![machine::build()];
    let (config, file) = match config {
        Ok(read) => read,
        Err(error) => {
            findings.push(Finding::of_error("configuration", &error));
            return findings;
        }
    };
    findings.push(match file {
        Some(file) => Finding::ok("configuration", format!("{} is read", file.display())),
        None => Finding::ok("configuration", "no file; the defaults, the environment and flags"),
    });
    let mut options = match FetchOptions::from_environment() {
        Ok(options) => options,
        Err(error) => {
            findings.push(Finding::error("cache", error.to_string(), error.hint()));
            return findings;
        }
    };
    options.offline = true;
    options.verify = verify;
    let (found, models) = model::files(&config, &options);
    let root = Root::system();
    let cpus = Cpus::read(&root);
    let examined = Examined { config: &config, root, cpus, models };
    findings.extend([machine::cpu(&examined), machine::threads(&examined), machine::noise(&examined)]);
    findings.extend(found);
    findings.extend(model::kernels(&examined));
    // Only after the kernels were checked in a child process: this starts llama.cpp.
    findings.push(machine::devices());
    findings.extend(model::memory(&examined));
    findings.extend(model::speed(&examined));
    findings.extend(limits::all(&examined));
    findings
}

/// Finds a model on this disk, without the network.
fn find(name: &str, options: &FetchOptions) -> anyhow::Result<FetchedModel> {
    let source: ModelSource = name.parse()?;
    Ok(fetch(&source, options, &|_| {})?)
}

/// Formats bytes for users.
fn mb(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}
