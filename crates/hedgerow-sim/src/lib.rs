//! The discrete-event simulator: runs the core's decisions in virtual time against users and a radio channel.
//!
//! A [`Scenario`] (a commented TOML file) describes the users, the channel and the node. A [`Simulation`] plays it:
//! [`Arrivals`] generates requests, the core's `Pipeline` decides, and a [`SimulatedEngine`] takes the time of the
//! cost model. Results go to a [`Sink`]: a [`Run`] keeps everything, one record per request and one report per plan;
//! an [`Output`] writes them to files and keeps only the times, so that ten million requests fit in memory. A
//! [`Report`] sums up either.
//!
//! [`replay`] plays the recording of a server's run through the same decisions.
//!
//! Nothing here reads a clock, and all random numbers come from the scenario's seed, so the same scenario gives the
//! same bytes. The crate uses only the core's public API.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod arrivals;
mod channel;
mod channel_outcomes;
mod engine;
mod event_queue;
pub mod generators;
mod invariants;
pub mod models;
pub mod replay;
mod report;
mod scenario;
mod simulation;
mod sink;
mod slowdown;
mod statistics;
pub mod sweep;

pub use arrivals::{Arrival, Arrivals};
pub use channel::{
    Cell, ChannelKnowledge, Direct, Fading, Gains, PathLoss, Propagation, Shadowing, Sight, path_loss_db,
};
pub use engine::SimulatedEngine;
pub use report::{FileError, Output, Outputs, Report, Tally, cdf, table, write_files};
pub use scenario::{
    Class, Extent, Knowledge, OutputKnowledge, Overrides, Range, Scenario, ScenarioError, Section, Users,
};
pub use simulation::Simulation;
pub use sink::{Run, Sink};
pub use slowdown::EngineSlowdown;
pub use statistics::mean_95;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
