//! What can be wrong with a sweep.

use std::io;
use std::path::PathBuf;

use crate::scenario::ScenarioError;

/// Why a sweep cannot be played, or its results not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The sweep file is not TOML, or not of this form.
    #[error("{message}")]
    Form {
        /// What is wrong and where, in the parser's words.
        message: String,
    },
    /// A part of the sweep file makes no sense.
    #[error("`{key}` {problem}")]
    Value {
        /// Which part.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// A key to be changed leads through something that has no keys.
    #[error("`{key}` cannot be set: `{part}` is no table and no element's name")]
    NoSuchKey {
        /// The key.
        key: String,
        /// The part of it that leads nowhere.
        part: String,
    },
    /// The scenario that the changes make is wrong.
    #[error("{}{source}", if cell.is_empty() { String::new() } else { format!("where {cell}: ") })]
    Scenario {
        /// Which cell.
        cell: String,
        /// What is wrong with it.
        source: ScenarioError,
    },
    /// The folder keeps the results of something else.
    #[error("{} is of another sweep, or of another version of hedgerow", path.display())]
    OtherSweep {
        /// The journal in it.
        path: PathBuf,
    },
    /// Somebody else is at it.
    #[error("{} is being written by another process", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The journal cannot be understood.
    #[error("{}, line {line}: not a line of a sweep's journal", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
}

impl SweepError {
    /// What to do about it.
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
