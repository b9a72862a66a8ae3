//! The lab: what is measured, planned, simulated and drawn around a node.
//!
//! - takes: scenarios, instances, models and running servers
//! - gives: reports, tables, plots and files
//! - never: serves requests
//!
//! [`commands`] has one module for each command of the program.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

pub mod commands;
mod evaluation;
mod figures;
mod instance_file;
mod plan;
mod plotting;
mod sweeps;
