//! Recordings: what a node was told and whom it ended, in a file that can be played again.
//!
//! The format `hedgerow-record/1` is JSON lines: first a [`Header`], then a [`Line`] for each event, in the
//! order in which the pipeline was told, and after it one for each request that it ended. A pipeline's
//! decisions depend on nothing else, so [`Recording::replay_exactly`] gets the same records out of it, and
//! [`Recording::replay`] asks what another policy would have made of the same arrivals. No text of a
//! request or of an answer is in it.

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

/// The format's name and version, with which every recording begins.
const FORMAT: &str = "hedgerow-record/1";

/// A recording's first line: the node and how it plans.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "format", rename = "hedgerow-record/1")]
pub struct Header {
    /// The version of the program that recorded it.
    pub version: String,
    /// When the node's clock stood at 0, in Unix time.
    pub started_unix_ms: u64,
    /// What the model is called.
    pub model: String,
    /// The node.
    pub node: Node,
    /// How it plans.
    pub settings: Settings,
}

/// A recording that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its first line.
    pub header: Header,
    /// What the pipeline was told, in order.
    pub told: Vec<Told>,
    /// Lines that were read, the header included.
    pub line_count: usize,
    /// What is wrong with the line after those, if there is one.
    pub damage: Option<Damage>,
}

/// An event and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The event's line in the file, from 1.
    pub line: usize,
    /// When.
    pub at: Instant,
    /// What the pipeline was told.
    pub event: Event,
    /// Whom it ended, in order.
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
    /// The records of all who ended, in the order they did.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.told.iter().flat_map(|told| &told.ended)
    }
}

#[cfg(test)]
mod tests;
