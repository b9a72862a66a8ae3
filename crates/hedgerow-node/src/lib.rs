//! A node as a library: the models on disk, how fast they run here, and the threads that serve requests.
//!
//! - takes: a configuration, model files, and requests
//! - gives: tokens, records, metrics and recordings
//! - never: decides about requests (that is the core), or opens a port
//!
//! Read [`node`] first: its driver gives events to the core's pipeline and passes the pipeline's orders to the
//! engine. [`loading`] is the way from a model's name to an engine that is checked and measured.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

pub mod build_version;
pub mod catalogue;
pub mod chat_template;
pub mod clock;
pub mod config;
pub mod console;
pub mod doctor;
pub mod engine_setup;
pub mod errors;
pub mod files;
pub mod footprint;
pub mod host;
pub mod kernels;
pub mod loading;
pub mod logging;
pub mod metrics;
pub mod models;
pub mod node;
pub mod placement;
pub mod profile;
pub mod quality;
pub mod quantize;
pub mod request_log;
pub mod sample;
pub mod service_manager;
pub mod terminal;
pub mod token_size;
