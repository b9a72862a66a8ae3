//! The result of a kernel check.

use std::fmt;

use hedgerow_llama::Kernels;
use serde::{Deserialize, Serialize, Serializer};

use super::compare::Difference;
use super::offload::Offload;
use super::subject::Subject;

/// The format of saved verdicts.
pub(super) const FORMAT: &str = "hedgerow-kernels/1";

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(super) format: String,
    #[serde(flatten)]
    pub(super) subject: Subject,
    pub(crate) checked_unix_s: u64,
    /// Duration of all trials.
    pub took_ms: u64,
    /// The fastest setup that computes correctly.
    pub(crate) usable: Option<Setup>,
    /// The trials, in the order they ran.
    pub(crate) trials: Vec<Trial>,
}

/// A combination of CPU variant, kernels and devices to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    #[serde(with = "KernelsName")]
    pub kernels: Kernels,
    /// `None`: the variant that suits the CPU best, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_variant: Option<String>,
    /// The layers on devices; `None`: all are on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload: Option<Offload>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Kernels", rename_all = "snake_case")]
enum KernelsName {
    Fast,
    Plain,
}

/// Serializes kernels by name.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn serialize_kernels<S: Serializer>(kernels: &Kernels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kernels.name())
}

/// The result of one child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    #[serde(flatten)]
    pub setup: Setup,
    pub took_ms: u64,
    /// What the kernels were compiled with; empty where llama.cpp did not start.
    pub(crate) instruction_sets: Vec<String>,
    /// Difference from the plain kernels' scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
}

/// Why kernels or devices are not usable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub kind: FailureKind,
    /// Description for readers.
    pub what: String,
    /// Whether another check would give the same result.
    pub(crate) is_lasting: bool,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// The child was ended by a signal of its own.
    Signal,
    /// Scores were not finite.
    NotANumber,
    /// Scores differed from those of the plain kernels.
    WrongNumbers,
    /// The child exceeded its time limit.
    TimedOut,
    /// The child was killed from outside, perhaps because memory was exhausted.
    Killed,
    /// The model could not be loaded, or the text could not be read.
    NotLoaded,
    /// The child could not be run.
    NotRun,
}

impl FailureKind {
    /// A stable name, for metrics and programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::NotANumber => "not_a_number",
            Self::WrongNumbers => "wrong_numbers",
            Self::TimedOut => "timed_out",
            Self::Killed => "killed",
            Self::NotLoaded => "not_loaded",
            Self::NotRun => "not_run",
        }
    }

    /// Whether the kernels themselves are at fault, as far as can be determined.
    pub(super) fn is_of_kernels(self) -> bool {
        matches!(self, Self::Signal | Self::NotANumber | Self::WrongNumbers)
    }
}

impl Failure {
    /// What an operator can do about the failure.
    pub(super) fn way_out(&self) -> &'static str {
        match self.kind {
            FailureKind::Signal | FailureKind::NotANumber | FailureKind::WrongNumbers => {
                "Way out: build hedgerow on this machine with another compiler, or with the feature `portable`; \
                 --kernels plain leaves the check out"
            }
            FailureKind::TimedOut | FailureKind::Killed | FailureKind::NotLoaded | FailureKind::NotRun => {
                "Way out: start again when the machine has memory and time to spare; --kernels fast uses them unchecked"
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offload) = &self.offload {
            return write!(f, "{offload}");
        }
        write!(f, "the {} kernels", self.kernels.name())?;
        self.cpu_variant.as_ref().map_or(Ok(()), |variant| write!(f, " of the CPU variant {variant}"))
    }
}

impl Verdict {
    /// The failure of the setup that would otherwise have been used first.
    pub(crate) fn first_failure(&self) -> Option<&Failure> {
        self.trials.iter().find_map(|trial| trial.failure.as_ref())
    }

    /// Whether another check would give the same result.
    pub(super) fn is_lasting(&self) -> bool {
        self.trials.iter().filter_map(|trial| trial.failure.as_ref()).all(|failure| failure.is_lasting)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::subject::tests::subject;
    use super::*;

    fn setup(kernels: Kernels) -> Setup {
        Setup { kernels, cpu_variant: None, offload: None }
    }

    /// A verdict with correct plain kernels and fast ones that crashed.
    pub(in crate::kernels) fn verdict() -> Verdict {
        let trial = |kernels, failure| Trial {
            setup: setup(kernels),
            took_ms: 300,
            instruction_sets: vec!["AVX512".into(), "AMX_INT8".into()],
            difference: None,
            failure,
        };
        let what = "the fast kernels died by SIGILL (illegal instruction)".to_owned();
        let failure = Failure { kind: FailureKind::Signal, what, is_lasting: true };
        Verdict {
            format: FORMAT.to_owned(),
            subject: subject(),
            checked_unix_s: 1_700_000_000,
            took_ms: 600,
            usable: Some(setup(Kernels::Plain)),
            trials: vec![trial(Kernels::Plain, None), trial(Kernels::Fast, Some(failure))],
        }
    }

    #[test]
    fn only_what_would_come_out_the_same_again_is_lasting() {
        let mut verdict = verdict();
        assert!(verdict.is_lasting());
        verdict.trials[1].failure.as_mut().unwrap().is_lasting = false;
        assert!(!verdict.is_lasting());
        verdict.trials[1].failure = None;
        assert!(verdict.is_lasting() && verdict.first_failure().is_none());
    }

    #[test]
    fn a_setup_is_named_for_people() {
        assert_eq!(setup(Kernels::Plain).to_string(), "the plain kernels");
        let haswell = Setup { cpu_variant: Some("haswell".into()), ..setup(Kernels::Fast) };
        assert_eq!(haswell.to_string(), "the fast kernels of the CPU variant haswell");
    }
}
