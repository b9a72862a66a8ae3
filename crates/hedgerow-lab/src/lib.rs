//! The lab: what is measured, planned, simulated and drawn around a node.
//!
//! - takes: scenarios, instances, models and running servers
//! - gives: reports, tables, plots and files
//! - never: serves requests
//!
//! [`commands`] has one module for each command of the program.

pub mod commands;
mod evaluation;
mod figures;
mod instance_file;
mod plan;
mod plotting;
mod sweeps;
