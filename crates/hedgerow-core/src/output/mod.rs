//! Stage 6 of 6: output.
//!
//! - takes: the tokens and the times of requests
//! - gives: one [`Record`] for each request when it has ended, a [`Summary`] of many, and text that may be shown
//!   ([`TextStream`])
//! - never: sends anything anywhere

mod admission_failure;
mod record;
mod summary;
mod text;

pub use admission_failure::AdmissionFailure;
pub use record::{Outcome, Record, Rejection, Target};
pub use summary::{Percentiles, Summary, Tally, Times};
pub use text::TextStream;
