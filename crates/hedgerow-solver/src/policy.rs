//! The policies: their names and properties.

use std::fmt;
use std::str::FromStr;

/// How a batch is chosen (`model.md §3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Brute force over all batches.
    BruteForce,
    /// The paper's search.
    Dftsp,
    /// This project's exact solver: the best batch, with proof.
    Exact,
    /// The cheapest requests first.
    Greedy,
    /// Earliest deadline first.
    Edf,
    /// First come, first served, without regard to deadlines, as other servers do.
    Fifo,
    /// Static batching (StB): a fixed batch size, first come, first served.
    Static {
        /// The batch size.
        size: u32,
    },
    /// No batching (NoB): each accelerator serves one request at a time.
    None {
        /// How many accelerators there are.
        accelerators: u32,
    },
}

impl Policy {
    /// The names of all policies, for messages.
    pub const NAMES: &str =
        "brute-force, dftsp, exact, greedy, edf, fifo, static[:size], none[:accelerators]";

    /// How a scheduler serves by this policy.
    pub fn traits(self) -> PolicyTraits {
        match self {
            Self::BruteForce | Self::Dftsp | Self::Exact | Self::Greedy | Self::Edf => PLANS_FOR_ALL,
            Self::Fifo => PolicyTraits { is_blind_to_deadlines: true, ..IN_ORDER },
            Self::Static { size } => {
                PolicyTraits { waits_for_the_batch: true, most_at_once: size, ..IN_ORDER }
            }
            Self::None { accelerators } => {
                PolicyTraits { most_at_once: accelerators, slowdown_alone: accelerators, ..IN_ORDER }
            }
        }
    }
}

/// How a scheduler serves by a policy, besides how the policy chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyTraits {
    /// Whether it ignores deadlines, so that it also serves requests whose deadline has passed.
    pub is_blind_to_deadlines: bool,
    /// Whether a plan covers all waiting requests, so that one that it leaves out can be rejected at once.
    pub plans_for_all: bool,
    /// Whether a batch must have ended before the next request may start.
    pub waits_for_the_batch: bool,
    /// The most requests that run at once.
    pub most_at_once: u32,
    /// The factor by which a request that runs alone takes longer than on the whole node: without batching it has
    /// only one of the accelerators.
    pub slowdown_alone: u32,
}

/// Policies that take requests in order of arrival.
const IN_ORDER: PolicyTraits = PolicyTraits {
    is_blind_to_deadlines: false,
    plans_for_all: false,
    waits_for_the_batch: false,
    most_at_once: u32::MAX,
    slowdown_alone: 1,
};

/// Policies that choose from all requests.
const PLANS_FOR_ALL: PolicyTraits = PolicyTraits { plans_for_all: true, ..IN_ORDER };

impl fmt::Display for Policy {
    /// The name that [`Policy::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BruteForce => f.write_str("brute-force"),
            Self::Dftsp => f.write_str("dftsp"),
            Self::Exact => f.write_str("exact"),
            Self::Greedy => f.write_str("greedy"),
            Self::Edf => f.write_str("edf"),
            Self::Fifo => f.write_str("fifo"),
            Self::Static { size } => write!(f, "static:{size}"),
            Self::None { accelerators } => write!(f, "none:{accelerators}"),
        }
    }
}

/// An unknown policy name.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown policy `{name}`; choose one of {}", Policy::NAMES)]
pub struct UnknownPolicy {
    /// The unknown name.
    pub name: String,
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    /// Parses a policy's name. `static` may have a size, `static:8`, and `none` a number of accelerators, `none:20`;
    /// the defaults are 8 and 1.
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let unknown = || UnknownPolicy { name: text.to_owned() };
        let (name, number) = match text.split_once(':') {
            None => (text, None),
            Some((name, number)) => (name, Some(number.parse().ok().filter(|&n| n > 0).ok_or_else(unknown)?)),
        };
        match (name, number) {
            ("brute-force", None) => Ok(Self::BruteForce),
            ("dftsp", None) => Ok(Self::Dftsp),
            ("exact", None) => Ok(Self::Exact),
            ("greedy", None) => Ok(Self::Greedy),
            ("edf", None) => Ok(Self::Edf),
            ("fifo", None) => Ok(Self::Fifo),
            ("static", number) => Ok(Self::Static { size: number.unwrap_or(8) }),
            ("none", number) => Ok(Self::None { accelerators: number.unwrap_or(1) }),
            (_, _) => Err(unknown()),
        }
    }
}
