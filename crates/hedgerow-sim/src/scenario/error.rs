//! What can be wrong with a scenario.

use std::path::PathBuf;

use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_solver::UnknownPolicy;

use crate::trace::TraceError;

/// Beside a guess, all words are listed only where they are this few.
const KNOWN_SHOWN_MAX: usize = 4;

/// Why a scenario cannot be played. Each names the place, the value and, by [`ScenarioError::hint`], the
/// way out.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}: {message}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not, in the system's words.
        message: String,
    },
    /// A word is not one of those that are known here.
    #[error("unknown {what} `{name}` {place}")]
    Unknown {
        /// What it should be: a key, a value, a model, a precision.
        what: &'static str,
        /// The word.
        name: String,
        /// Where it stands.
        place: Place,
        /// All that are known.
        known: Vec<String>,
    },
    /// The policy's name is not one.
    #[error("{source} (in `planning.policy` or `--policy`)")]
    Policy {
        /// What the core says about it.
        source: UnknownPolicy,
    },
    /// It is not TOML, a key is missing, or a value has the wrong type.
    #[error("{}line {line}: {message}", key.as_ref().map(|key| format!("`{key}`, ")).unwrap_or_default())]
    Form {
        /// Which key or table, where that is known.
        key: Option<String>,
        /// Which line.
        line: usize,
        /// What is wrong, in the parser's words.
        message: String,
    },
    /// A value makes no sense.
    #[error("`{key}` is {value}, but must be {must_be}")]
    Value {
        /// Which key.
        key: String,
        /// Its value.
        value: String,
        /// What it must be.
        must_be: &'static str,
    },
    /// A key is needed because of another one.
    #[error("`{key}` is missing: {because}")]
    Missing {
        /// Which key.
        key: String,
        /// Why it is needed.
        because: &'static str,
    },
    /// Two keys say the same thing in different ways.
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
        /// Which key.
        key: String,
        /// Why not.
        because: &'static str,
    },
    /// A file that the scenario names cannot be used.
    #[error("`{key}` names {}, which cannot be used: {why}", path.display())]
    File {
        /// Which key.
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
    /// A trace that is only thinned is to come faster than it did.
    #[error(
        "the trace has {trace_per_s:.2} requests a second, fewer than `users.rate_per_s` = {asked_per_s}"
    )]
    TraceTooSlow {
        /// What is asked for.
        asked_per_s: f64,
        /// What there is.
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
        /// What prompts may be padded to.
        prompt: Tokens,
        /// The longest output.
        output: Tokens,
        /// The context.
        context: Tokens,
    },
}

/// Where a word stands.
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
    /// What to do about it.
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

    /// Turns the TOML parser's words into an error that says what is known, where they say so.
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

/// The known word that was probably meant.
pub fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |known: &String| strsim::damerau_levenshtein(name, known);
    // A name cut short is more likely than one letter for another.
    if let Some(whole) = known.iter().find(|known| known.starts_with(name)) {
        return Some(whole);
    }
    let nearest = known.iter().min_by_key(|known| distance(known))?;
    // Half of the letters wrong is another word.
    (distance(nearest) <= name.len().max(nearest.len()) / 2).then_some(nearest)
}
