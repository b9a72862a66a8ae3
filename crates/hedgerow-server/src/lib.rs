//! The HTTP server of a node.
//!
//! - takes: connections, with requests of the OpenAI API and their SLO headers
//! - gives: answers as JSON or event streams, paced to the link; errors with a hint; metrics
//! - never: decides about requests, or knows how the engine computes
//!
//! Read [`Server`], then `api/intake.rs` and `api/respond.rs`: a request on its way to the node and back.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod access;
mod api;
mod connections;
mod link;
mod server;

pub use access::{KeyEntry, new_key, read_keys};
pub use api::App;
pub use server::Server;
