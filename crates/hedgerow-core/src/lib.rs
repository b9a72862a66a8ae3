//! Every decision hedgerow makes, and nothing else: no I/O, no clock, no threads, no unseeded randomness.
//!
//! Read [`pipeline`] first. Each folder is a stage of it:
//! [`queue`] → [`scheduler`] → [`allocator`] → [`quantization`] → [`engine`] → [`output`]; each loose file
//! is vocabulary that they share. A stage may use vocabulary and the stages to its right.

pub mod allocator;
mod as_text;
pub mod calibration;
pub mod engine;
pub mod node;
pub mod output;
pub mod output_length;
pub mod pipeline;
pub mod quantization;
pub mod queue;
pub mod request;
pub mod running;
pub mod scheduler;
pub mod settings;
pub mod time;
pub mod units;

pub use pipeline::{Event, Order, Pipeline};
