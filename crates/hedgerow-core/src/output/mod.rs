//! Stage 6 of 6: output.
//!
//! - takes: tokens and moments as requests go through the node
//! - gives: one [`Record`] for each request when it has ended, [`Summary`]s of many, and text that may
//!   be shown ([`TextStream`])
//! - never: sends anything anywhere

mod record;
mod summary;
mod text;

pub use record::{Outcome, Record, Rejection, Target};
pub use summary::{Percentiles, Summary, Tally, Times};
pub use text::TextStream;
