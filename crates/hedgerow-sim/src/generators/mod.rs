//! Families of batching problems, drawn from a seed: what solvers are compared on.
//!
//! Each family stresses something else (see [`Family::description`]). The same family, size and seed give
//! the same [`Instance`]; all finish together, as in an instance file (`model.md §2`). Capacities grow with
//! the number of requests, so that a third to a half of them fit, whatever their number.
//!
//! Only `paper` comes from radios and transformers. The others are tables of integers of about the same
//! magnitudes, and no claim about real traffic.

mod adversarial;
mod paper;
mod parity;
mod tables;

use std::fmt;
use std::str::FromStr;

use hedgerow_solver::Instance;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// A kind of batching problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The paper's structure.
    Paper,
    /// Much of one resource, little of another.
    AntiCorrelated,
    /// All limits bind at once.
    Tight,
    /// Needs that hardly differ.
    NearTies,
    /// Each request has a slack of its own.
    Deadlines,
    /// Unequal values.
    Weighted,
    /// Values that follow the needs.
    Correlated,
    /// One resource is scarce.
    OneLimit,
    /// Needs that never add up to the limits.
    Parity,
    /// Found by a search for what takes `dftsp` longest.
    Adversarial,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 10] = [
        Self::Paper,
        Self::AntiCorrelated,
        Self::Tight,
        Self::NearTies,
        Self::Deadlines,
        Self::Weighted,
        Self::Correlated,
        Self::OneLimit,
        Self::Parity,
        Self::Adversarial,
    ];

    /// Every family's name, for messages.
    pub const NAMES: &str = "paper, anti-correlated, tight, near-ties, deadlines, weighted, correlated, \
                             one-limit, parity, adversarial";

    /// Its name on the command line and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::AntiCorrelated => "anti-correlated",
            Self::Tight => "tight",
            Self::NearTies => "near-ties",
            Self::Deadlines => "deadlines",
            Self::Weighted => "weighted",
            Self::Correlated => "correlated",
            Self::OneLimit => "one-limit",
            Self::Parity => "parity",
            Self::Adversarial => "adversarial",
        }
    }

    /// One sentence on what it looks like.
    pub fn description(self) -> &'static str {
        match self {
            Self::Paper => {
                "Prompts and answers of 128, 256 or 512 tokens over one Rayleigh-faded channel each, on a \
                 node that computes as the paper's does."
            }
            Self::AntiCorrelated => {
                "Who needs much of the uplink needs little of the downlink, and the same for memory and \
                 compute; eight slacks."
            }
            Self::Tight => {
                "Independent uniform needs, each limit at 40 % of the total need, so that all bind at once."
            }
            Self::NearTies => {
                "All needs and slacks within 1 % of each other, so that very many batches are nearly equal."
            }
            Self::Deadlines => "Every request has a slack of its own, far apart, and compute time is scarce.",
            Self::Weighted => "As tight, with six slacks and values from 1 to 10.",
            Self::Correlated => {
                "As tight, with values that are the sum of the needs and a constant: the classic hard knapsack."
            }
            Self::OneLimit => "One resource, drawn from the four, is scarce; the others are never full.",
            Self::Parity => {
                "Needs are multiples of a step and limits lie between two multiples, so that linear bounds \
                 are hardly ever attained; half of the instances have values equal to a need, as in a \
                 subset sum."
            }
            Self::Adversarial => {
                "Up to 12 requests found by a seeded search for what takes dftsp most nodes, repeated with \
                 small differences when there are more."
            }
        }
    }

    /// Part of what a seed means: never reuse one.
    fn number(self) -> u64 {
        match self {
            Self::Paper => 0,
            Self::AntiCorrelated => 1,
            Self::Tight => 2,
            Self::NearTies => 3,
            Self::Deadlines => 4,
            Self::Weighted => 5,
            Self::Correlated => 6,
            Self::OneLimit => 7,
            Self::Parity => 8,
            Self::Adversarial => 9,
        }
    }
}

impl fmt::Display for Family {
    /// The name that [`Family::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A family name that nobody knows.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown family `{name}`; choose one of {}", Family::NAMES)]
pub struct UnknownFamily {
    /// The name that was given.
    pub name: String,
}

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        let unknown = || UnknownFamily { name: text.to_owned() };
        Self::ALL.into_iter().find(|family| family.name() == text).ok_or_else(unknown)
    }
}

/// Draws the instance of a family, a size and a seed.
///
/// # Examples
///
/// ```
/// use hedgerow_sim::generators::{Family, draw};
///
/// assert_eq!(draw(Family::Tight, 100, 7).items.len(), 100);
/// assert_eq!(draw(Family::Tight, 100, 7), draw(Family::Tight, 100, 7));
/// ```
pub fn draw(family: Family, requests: usize, seed: u64) -> Instance {
    if requests == 0 {
        return Instance::default();
    }
    let draws = &mut stream(family, requests, seed);
    match family {
        Family::Paper => paper::draw(draws, requests),
        Family::AntiCorrelated => tables::anti_correlated(draws, requests),
        Family::Tight => tables::tight(draws, requests),
        Family::NearTies => tables::near_ties(draws, requests),
        Family::Deadlines => tables::deadlines(draws, requests),
        Family::Weighted => tables::weighted(draws, requests),
        Family::Correlated => tables::correlated(draws, requests),
        Family::OneLimit => tables::one_limit(draws, requests),
        Family::Parity => parity::draw(draws, requests),
        Family::Adversarial => adversarial::draw(draws, requests),
    }
}

/// What an instance is called: family, size and seed, so that its name is enough to draw it again.
///
/// # Examples
///
/// ```
/// use hedgerow_sim::generators::{Family, instance_name};
///
/// assert_eq!(instance_name(Family::OneLimit, 100, 7), "one-limit-n100-s7");
/// ```
pub fn instance_name(family: Family, requests: usize, seed: u64) -> String {
    format!("{family}-n{requests}-s{seed}")
}

/// One stream for each family, size and seed, so that a longer instance is no shorter one with a tail.
fn stream(family: Family, requests: usize, seed: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (place, number) in key.chunks_exact_mut(8).zip([family.number(), requests as u64, seed]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests;
