//! Recordings: the events of a node and the records of its requests, in a file that can be replayed.
//!
//! The format `hedgerow-record/1` is JSON Lines: first a [`Header`], then a [`Line`] for each event, in the order in
//! which the pipeline received them, each followed by one for each request that it ended. A pipeline's decisions
//! depend on nothing else, so a replay of the same events reproduces the same records. A recording contains no text of prompts or answers.

mod read;

use std::io::{self, Write};

use hedgerow_core::Event;
use hedgerow_core::node::Node;
use hedgerow_core::output::Record;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Instant;
use serde::{Deserialize, Serialize};

pub use read::{Damage, RecordingError};

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
    pub events: Vec<RecordedEvent>,
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

/// A further line: an event or a record, and when the pipeline received the event.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Line {
    /// When the pipeline received the event.
    pub at: Instant,
    /// The content of the line.
    #[serde(flatten)]
    pub what: What,
}

/// The content of a line.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The pipeline received this event.
    Event(Event),
    /// The preceding event ended this request.
    End(Box<Record>),
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
        self.events.iter().flat_map(|event| &event.ended)
    }
}
