//! Instance generators: families of random batching problems on which solvers are compared.
//!
//! Each family stresses another property (see [`Family::description`]). The same family, size and seed give
//! the same [`Instance`]; all its requests finish together, as in an instance file (`model.md §2`). Capacities grow
//! with the number of requests, so that a third to a half of them fit at every size.
//!
//! Only `paper` is derived from models of a radio and a transformer. The others are tables of integers of about the
//! same magnitudes and do not represent real traffic.

mod adversarial;
mod paper;
mod parity;
mod tables;

use std::fmt;
use std::str::FromStr;

use hedgerow_solver::Instance;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// A family of batching problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The paper's structure.
    Paper,
    /// A high need for one resource goes with a low need for another.
    AntiCorrelated,
    /// All limits bind at once.
    Tight,
    /// Nearly equal needs.
    NearTies,
    /// Each request has a different slack.
    Deadlines,
    /// Unequal values.
    Weighted,
    /// Values correlated with the needs.
    Correlated,
    /// One resource is scarce.
    OneLimit,
    /// Needs whose sums cannot equal the limits.
    Parity,
    /// Instances found by a search for a high node count of `dftsp`.
    Adversarial,
}

impl Family {
    /// All families.
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

    /// The names of all families, for messages.
    pub const NAMES: &str = "paper, anti-correlated, tight, near-ties, deadlines, weighted, correlated, \
                             one-limit, parity, adversarial";

    /// The family's name on the command line and in file names.
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

    /// One sentence that describes the family's instances.
    pub fn description(self) -> &'static str {
        match self {
            Self::Paper => {
                "Prompts and answers of 128, 256 or 512 tokens over one Rayleigh-faded channel each, on a \
                 node that computes as the paper's does."
            }
            Self::AntiCorrelated => {
                "A high need for the uplink goes with a low one for the downlink, and the same for memory \
                 and compute; eight slacks."
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

    /// The number that enters the seed; numbers are never reused.
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
    /// Writes the name that [`Family::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of an unknown family name.
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

/// The name of an instance: family, size and seed, which suffice to draw it again.
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

/// A random stream per family, size and seed, so that no instance is a prefix of a larger one.
fn stream(family: Family, requests: usize, seed: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (place, number) in key.chunks_exact_mut(8).zip([family.number(), requests as u64, seed]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests;
