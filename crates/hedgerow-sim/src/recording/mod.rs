//! Recordings: the events of a node and the records of its requests, in a file that can be replayed.
//!
//! The format `hedgerow-record/1` is JSON Lines: first a [`Header`], then a [`Line`] for each event, in the order in
//! which the pipeline received them, each followed by one for each request that it ended. A pipeline's decisions
//! depend on nothing else, so [`Recording::replay_exactly`] reproduces the same records, and [`Recording::replay`]
//! simulates another policy with the same arrivals. A recording contains no text of prompts or answers.

mod comparison;
mod exact;
mod read;
mod replay;
mod step_times;
mod table;

use std::io::{self, Write};

use hedgerow_core::Event;
use hedgerow_core::node::Node;
use hedgerow_core::output::Record;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Instant;
use serde::{Deserialize, Serialize};

pub use crate::event_log::{Line, What};
pub use comparison::{Comparison, Figures};
pub use exact::{Difference, Differs, Identical};
pub use read::{Damage, RecordingError};
pub use step_times::StepTimes;
pub use table::table as comparison_table;

/// The format's name and version, at the start of every recording.
const FORMAT: &str = "hedgerow-record/1";

/// A recording's first line: the node and its settings.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "format", rename = "hedgerow-record/1")]
pub struct Header {
    /// The version of the recording program.
    pub version: String,
    /// The Unix time at which the node's clock was 0.
    pub started_unix_ms: u64,
    /// The model's name.
    pub model: String,
    /// The node.
    pub node: Node,
    /// The planning settings.
    pub settings: Settings,
}

/// A recording in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its first line.
    pub header: Header,
    /// The events that the pipeline received, in order.
    pub told: Vec<RecordedEvent>,
    /// Number of valid lines, the header included.
    pub line_count: usize,
    /// The error in the line after those, if there is one.
    pub damage: Option<Damage>,
}

/// An event and the requests that it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// The event's line in the file, from 1.
    pub line: usize,
    /// When the pipeline received it.
    pub at: Instant,
    /// The event.
    pub event: Event,
    /// The records of the requests that it ended, in order.
    pub ended: Vec<Record>,
}

impl Header {
    /// Writes it as a recording's first line.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_line(self, out)
    }
}

impl Line {
    /// Writes it as a line.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_line(self, out)
    }
}

fn write_line(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

impl Recording {
    /// The records of all ended requests, in the order of their ends.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.told.iter().flat_map(|event| &event.ended)
    }
}

#[cfg(test)]
mod tests;
