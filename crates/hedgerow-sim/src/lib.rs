//! The discrete-event simulator: runs the core's decisions in virtual time against users and a radio channel.
//!
//! A [`Scenario`] (a commented TOML file) describes the users, the channel and the node. A [`Simulation`] plays it:
//! [`Arrivals`] generates requests, the core's `Pipeline` decides, and a [`SimulatedEngine`] takes the time of the
//! cost model. Results go to a [`Sink`]: a [`Run`] keeps everything, one record per request and one report per plan;
//! an [`Output`] writes them to files and keeps only the times, so that ten million requests fit in memory. A
//! [`Report`] sums up either.
//!
//! A [`Recording`] holds the events of a server's run; it is replayed through the same decisions.
//!
//! Nothing here reads a clock, and all random numbers come from the scenario's seed, so the same scenario gives the
//! same bytes. The crate uses only the core's public API.

mod arrivals;
mod channel;
mod channel_outcomes;
mod engine;
mod event_log;
mod event_queue;
pub mod generators;
mod invariants;
pub mod models;
mod random;
mod recording;
mod report;
mod scenario;
mod simulation;
mod sink;
mod slowdown;
pub mod sweep;
mod text_file;
mod trace;

pub use arrivals::{Arrival, Arrivals, Lengths, Process, RateBy, Replay};
pub use channel::{
    Cell, ChannelKnowledge, Direct, Fading, Gains, PathLoss, Propagation, Shadowing, Sight, path_loss_db,
};
pub use engine::SimulatedEngine;
pub use recording::{
    Comparison, Damage, Difference, Differs, Figures, Header, Identical, Line, RecordedEvent, Recording,
    RecordingError, StepTimes, What, comparison_table,
};
pub use report::{FileError, Output, Outputs, Report, Tally, cdf, table, write_files};
pub use scenario::{
    Class, Extent, Knowledge, OutputKnowledge, Overrides, PROFILE_FORMAT, Range, Scenario, ScenarioError,
    Section, Users, nearest,
};
pub use simulation::Simulation;
pub use sink::{Run, Sink};
pub use slowdown::EngineSlowdown;
pub use text_file::{read_text, without_byte_order_mark};
pub use trace::{Trace, TraceError, TraceFault, TraceFit, TraceRow};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
