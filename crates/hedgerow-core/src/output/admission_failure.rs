//! Why a request was not admitted.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::request::RequestId;
use crate::model::time::Span;

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionFailure {
    /// It would be done in `done_in`, after its deadline in `left`.
    TooLate {
        /// Time from the decision to its last token.
        done_in: Span,
        /// Time from the decision to its deadline.
        left: Span,
    },
    /// It would miss its target for the first token or for the time per token.
    OffPace,
    /// It would make an admitted request late.
    #[serde(rename = "breaks_promise")]
    DelaysAdmitted {
        /// That request.
        to: RequestId,
    },
    /// It could be done, but this part of the node's time is reserved for expected arrivals with more value per
    /// work.
    #[serde(rename = "kept")]
    Reserved {
        /// The reserved part, from 0 to 1.
        part: f64,
    },
    /// The precision that it needs is not in memory, and could not be loaded in time or beside those in use.
    NotInMemory,
    /// Its deadline became infeasible while it waited for a place.
    RanOut,
}

impl fmt::Display for AdmissionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLate { done_in, left } => write!(f, "it would be done in {done_in}, but has {left}"),
            Self::OffPace => f.write_str("it would miss its target for the first token or for each"),
            Self::DelaysAdmitted { to } => write!(f, "it would make {to} late, which is admitted already"),
            Self::Reserved { part } => write!(
                f,
                "{:.0} % of the time is reserved for expected requests of more value for their work",
                100.0 * part
            ),
            Self::NotInMemory => f.write_str(
                "the precision that it needs is not in memory, and cannot be loaded in time or beside those in use",
            ),
            Self::RanOut => f.write_str("its time ran out while it waited for a place"),
        }
    }
}
