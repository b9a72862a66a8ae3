//! The simulator: the core's own decisions, played in virtual time against users and a channel.
//!
//! A [`Scenario`] (a commented TOML file) says who asks for what, over which channel, of which node.
//! A [`Simulation`] plays it: [`Arrivals`] come, the core's `Pipeline` decides, a [`SimulatedEngine`]
//! takes as long as the cost model says. What happens goes to a [`Sink`]: a [`Run`] keeps it all, one record for
//! each request and one report for each plan; an [`Output`] writes it to files and forgets it, so that ten million
//! requests need no more room than their times. A [`Report`] sums up either.
//!
//! A [`Recording`] is a node's own story, kept by the server: it is replayed through the same decisions.
//!
//! Nothing here reads a clock or draws from anything but the scenario's seed, so the same scenario gives
//! the same bytes. It uses only what the core shows to everybody.

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
    Comparison, Damage, Difference, Differs, Figures, Header, Identical, Line, Recording, RecordingError,
    StepTimes, Told, What, comparison_table,
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
