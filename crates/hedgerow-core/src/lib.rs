//! Every decision hedgerow makes, and nothing else: no I/O, no clock, no threads, no unseeded randomness.
//!
//! Read [`pipeline`] first. Each folder is a stage of it:
//! [`queue`] → [`scheduler`] → [`allocator`] → [`quantization`] → [`engine`] → [`output`]; [`model`] is the
//! vocabulary that they share. A stage uses the model and the stages to its right; the pipeline uses all of them.
//! `cargo xtask test --only tidy` checks that.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

pub mod allocator;
pub mod engine;
pub mod model;
pub mod output;
pub mod pipeline;
pub mod quantization;
pub mod queue;
pub mod scheduler;

pub use model::{node, request, running, settings, time, units};
pub use pipeline::{Event, Order, Pipeline};
