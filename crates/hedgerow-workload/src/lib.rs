//! Workloads: what requests arrive when, drawn or recorded.
//!
//! - takes: arrival processes, length distributions, traces and recordings, with a seed
//! - gives: arrival times and lengths that are the same on every machine
//! - never: decides about requests, simulates a node, or opens a connection
//!
//! The simulator, the load generator and the planner draw from it, and the server writes its recordings with it.
//! Read [`ArrivalTimes`] first. Errors for users carry a hint: see [`hint`].

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod arrivals;
pub mod hint;
mod lengths;
mod normal;
mod random;
mod recording;
mod text_file;
mod trace;

pub use arrivals::{ArrivalTimes, Process, RateBy, Replay};
pub use lengths::{Lengths, correlated};
pub use normal::normal_cdf;
pub use random::{Purpose, pick, stream};
pub use recording::{Damage, Header, Line, RecordedEvent, Recording, RecordingError, What};
pub use text_file::{read_text, without_byte_order_mark};
pub use trace::{Trace, TraceError, TraceFault, TraceFit, TraceRow};
