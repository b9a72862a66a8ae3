//! Errors of sweeps.

use std::io;
use std::path::PathBuf;

use crate::scenario::ScenarioError;

/// Why a sweep cannot be played or its results cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The sweep file is not TOML or does not have this form.
    #[error("{message}")]
    Form {
        /// The parser's message, with the place.
        message: String,
    },
    /// A part of the sweep file is invalid.
    #[error("`{key}` {problem}")]
    Value {
        /// The key of the part.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
        /// How to fix it.
        hint: &'static str,
    },
    /// The path of a changed key contains a value that is not a table.
    #[error("`{key}` cannot be set: `{part}` is no table and no element's name")]
    NoSuchKey {
        /// The key.
        key: String,
        /// The part of it that is not a table.
        part: String,
    },
    /// The changed scenario is invalid.
    #[error("{}{source}", if cell.is_empty() { String::new() } else { format!("where {cell}: ") })]
    Scenario {
        /// The label of the cell.
        cell: String,
        /// What is wrong with it.
        source: ScenarioError,
    },
    /// The folder has the results of another sweep.
    #[error("{} is of another sweep, or of another version of hedgerow", path.display())]
    OtherSweep {
        /// The journal in it.
        path: PathBuf,
    },
    /// Another process writes the journal.
    #[error("{} is being written by another process", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The journal is damaged.
    #[error("{}, line {line}: not a line of a sweep's journal", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line number.
        line: usize,
    },
}

impl SweepError {
    /// How to fix the error.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "name a sweep file, such as `scenarios/sweeps/rates.toml`".into(),
            Self::Unwritable { .. } => "name another folder by `--out`".into(),
            Self::Form { .. } => "docs/guides/sweeps.md has every key of a sweep file".into(),
            Self::Value { hint, .. } => (*hint).into(),
            Self::NoSuchKey { .. } => {
                "write keys as in the scenario: `users.rate_per_s`, `precision.W8A16.alpha`".into()
            }
            Self::Scenario { source, .. } => source.hint(),
            Self::OtherSweep { .. } | Self::Damaged { .. } => {
                "name another folder by `--out`, or remove this one".into()
            }
            Self::Busy { .. } => "wait for it to end, or name another folder by `--out`".into(),
        }
    }
}
