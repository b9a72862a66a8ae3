//! Errors of scenarios.

use std::path::PathBuf;

use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_solver::UnknownPolicy;
use hedgerow_workload::TraceError;
use hedgerow_workload::hint::nearest;

/// Next to a suggestion, the known words are listed only if there are at most this many.
const KNOWN_SHOWN_MAX: usize = 4;

/// Why a scenario cannot be played. Each error names the place and the value; [`ScenarioError::hint`] names the fix.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}: {message}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error message.
        message: String,
    },
    /// A word is not known at its place.
    #[error("unknown {what} `{name}` {place}")]
    Unknown {
        /// The kind of word: a key, a value, a model, a precision.
        what: &'static str,
        /// The word.
        name: String,
        /// Where it is.
        place: Place,
        /// All known words.
        known: Vec<String>,
    },
    /// The policy's name is unknown.
    #[error("{source} (in `planning.policy` or `--policy`)")]
    Policy {
        /// The solver's error.
        source: UnknownPolicy,
    },
    /// It is not TOML, a key is missing, or a value has the wrong type.
    #[error("{}line {line}: {message}", key.as_ref().map(|key| format!("`{key}`, ")).unwrap_or_default())]
    Form {
        /// The key or table, if known.
        key: Option<String>,
        /// The line.
        line: usize,
        /// The parser's error message.
        message: String,
    },
    /// A value is invalid.
    #[error("`{key}` is {value}, but must be {must_be}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The valid values.
        must_be: String,
    },
    /// A key is required because of another one.
    #[error("`{key}` is missing: {because}")]
    Missing {
        /// The key.
        key: String,
        /// Why it is required.
        because: &'static str,
    },
    /// Two keys set the same thing.
    #[error("`{key}` and `{other}` are both given")]
    Conflict {
        /// One key.
        key: String,
        /// The other.
        other: String,
    },
    /// A key has no effect.
    #[error("`{key}` has no effect: {because}")]
    Unused {
        /// The key.
        key: String,
        /// Why it has no effect.
        because: &'static str,
    },
    /// A file that the scenario names cannot be used.
    #[error("`{key}` names {}, which cannot be used: {why}", path.display())]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The trace cannot be used.
    #[error("{source} (in `arrivals.trace`)")]
    Trace {
        /// What is wrong with it.
        source: TraceError,
    },
    /// The configured rate exceeds that of a thinned trace.
    #[error(
        "the trace has {trace_per_s:.2} requests a second, fewer than `users.rate_per_s` = {asked_per_s}"
    )]
    TraceTooSlow {
        /// The configured rate.
        asked_per_s: f64,
        /// The trace's rate.
        trace_per_s: f64,
    },
    /// The resident weights leave no memory for KV caches.
    #[error(
        "the resident weights of {weights} (by each precision's `alpha`) do not fit the memory of {memory} (`node.memory_gb`)"
    )]
    NoMemory {
        /// All resident weights.
        weights: Bytes,
        /// The node's memory.
        memory: Bytes,
    },
    /// A padded prompt and its output would not fit a request's context.
    #[error(
        "prompts padded to {prompt} (the longest of `prompt_tokens`, or `planning.padding_tokens`) and outputs of {output} \
         (the longest of `output_tokens`) do not fit `node.context_tokens` = {context}"
    )]
    PaddingTooLong {
        /// The padded prompt length.
        prompt: Tokens,
        /// The longest output.
        output: Tokens,
        /// The context.
        context: Tokens,
    },
}

/// Where a word is in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a line of the file.
    Line(usize),
    /// Under a key.
    Key(&'static str),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "on line {line}"),
            Self::Key(key) => write!(f, "in `{key}`"),
        }
    }
}

impl ScenarioError {
    /// How to fix the error.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "name a scenario file, such as `scenarios/paper.toml`".into(),
            Self::Unknown { name, known, .. } => match nearest(name, known) {
                Some(nearest) if known.len() > KNOWN_SHOWN_MAX => format!("did you mean `{nearest}`?"),
                Some(nearest) => format!("did you mean `{nearest}`? there are {}", known.join(", ")),
                None => format!("choose one of {}", known.join(", ")),
            },
            Self::Policy { .. } => "`static:8` sets a batch size, `none:20` a number of accelerators".into(),
            Self::Form { .. } => {
                "`hedgerow scenario new` writes a file with every key, its unit and its meaning".into()
            }
            Self::Value { key, must_be, .. } => format!("set `{key}` to {must_be}"),
            Self::Missing { key, .. } => format!("add `{key}`"),
            Self::Conflict { key, other } => format!("remove `{key}` or `{other}`"),
            Self::Unused { key, .. } => format!("remove `{key}`"),
            Self::File { key, .. } => {
                format!("set `{key}` to a file that is there, as seen from the scenario's folder")
            }
            Self::Trace { source } => source.hint().into(),
            Self::TraceTooSlow { .. } => {
                "lower `users.rate_per_s`, or set `arrivals.rate_by` to \"stretching\"".into()
            }
            Self::NoMemory { .. } => {
                "raise `node.memory_gb`, or name fewer or smaller precisions in `node.resident`".into()
            }
            Self::PaddingTooLong { prompt, output, .. } => {
                format!("set `node.context_tokens` to {} or more, or `planning.padding` to \"none\"", {
                    u64::from(prompt.0) + u64::from(output.0)
                })
            }
        }
    }

    /// Converts a TOML parser's message into an error, which lists the known words if the message has them.
    pub(super) fn from_toml(key: &str, message: &str, line: usize) -> Self {
        // Serde writes: unknown field `ratee`, expected one of `rate_per_s`, `prompt_tokens`
        let what = match message {
            _ if message.starts_with("unknown field") => "key",
            _ if message.starts_with("unknown variant") => "value",
            _ => return Self::Form { key: Some(key.to_owned()), line, message: message.to_owned() },
        };
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        let name = quoted.next().unwrap_or_default();
        Self::Unknown { what, name, place: Place::Line(line), known: quoted.collect() }
    }
}
