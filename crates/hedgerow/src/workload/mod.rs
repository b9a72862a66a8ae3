//! Workloads for a server: draws requests, sends them, and records and aggregates their outcomes.
//!
//! `hedgerow bench serve` and `hedgerow demo` are built on it. Workloads are drawn from seeds, so that two servers
//! can be given the same one; all times are measured by the client's own clock.

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

/// One request of a workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// When it is sent, from the start of the run; in a closed loop, when its client is free.
    pub(crate) at: Duration,
    /// Index of its class.
    pub(crate) class: usize,
    /// The prefix that all prompts share, if there is one.
    pub(crate) system: Option<Arc<str>>,
    /// The prompt.
    pub(crate) prompt: String,
    /// The approximate number of tokens of the prompt; the server reports the exact one.
    pub(crate) prompt_tokens: u32,
    /// Tokens of the output.
    pub(crate) output_tokens: u32,
    /// The end-to-end deadline, from when the request is sent.
    pub(crate) deadline: Option<Duration>,
    /// Quality floor.
    pub(crate) min_quality: Option<f64>,
}
