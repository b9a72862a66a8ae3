//! The load generator: draws requests, sends them, and records and aggregates their outcomes.
//!
//! It knows servers only by HTTP and by the client's own clock. Workloads are drawn from seeds, so that two servers
//! can be given the same one. Read [`Offer`] first.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod arrivals;
mod class;
mod client;
mod draw;
mod offer;
mod outcome;
mod probe;
mod server_url;
mod stream;
mod summary;

use std::sync::Arc;
use std::time::Duration;

pub use arrivals::Arrivals;
pub use class::Class;
pub use client::Client;
pub use draw::{Pattern, Seeds};
pub use offer::{Offer, Patience, Run};
pub use outcome::{Outcome, Record};
pub use server_url::server_root;
pub use summary::{Series, Tally, failures, milliseconds};

pub use class::BUILT_IN as BUILT_IN_CLASSES;

/// One request of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// When it is sent, from the start of the run; in a closed loop, when its client is free.
    pub at: Duration,
    /// Index of its class.
    pub class: usize,
    /// The prefix that all prompts share, if there is one.
    pub system: Option<Arc<str>>,
    /// The prompt.
    pub prompt: String,
    /// The approximate number of tokens of the prompt; the server reports the exact one.
    pub prompt_tokens: u32,
    /// Tokens of the output.
    pub output_tokens: u32,
    /// The end-to-end deadline, from when the request is sent.
    pub deadline: Option<Duration>,
    /// Quality floor.
    pub min_quality: Option<f64>,
}
