//! Load for a server: who asks for what and when, what they hear, and what that adds up to.
//!
//! `hedgerow bench serve` and `hedgerow demo` are built on it. Loads come from seeds, so that two servers can
//! be given the same one; everything after that goes by the callers' own clock.

mod arrivals;
mod class;
mod client;
mod draw;
mod offer;
mod outcome;
mod probe;
mod stream;
mod summary;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use arrivals::Arrivals;
pub(crate) use class::Class;
pub(crate) use client::Client;
pub(crate) use draw::{Pattern, Seeds};
pub(crate) use hedgerow_sim::{Trace, TraceFit};
pub(crate) use offer::{Offer, Patience, Run};
pub(crate) use outcome::{Outcome, Record};
pub(crate) use summary::{Series, Tally, failures, milliseconds};

pub(crate) use class::BUILT_IN as BUILT_IN_CLASSES;

/// One request of a load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// When it is sent, from the start of the run; in a closed loop, whenever its caller is free.
    pub(crate) at: Duration,
    /// Index of its class.
    pub(crate) class: usize,
    /// What all callers say first, if anything.
    pub(crate) system: Option<Arc<str>>,
    /// The question.
    pub(crate) prompt: String,
    /// About how many tokens the question has; the server says how many it took.
    pub(crate) prompt_tokens: u32,
    /// Tokens of the answer.
    pub(crate) output_tokens: u32,
    /// By when the answer must be complete, from when the request is sent.
    pub(crate) deadline: Option<Duration>,
    /// Quality floor.
    pub(crate) min_quality: Option<f64>,
}
