//! The lines of a recording after its first: what the pipeline was told, and what ended.

use hedgerow_core::Event;
use hedgerow_core::output::Record;
use hedgerow_core::time::Instant;
use serde::{Deserialize, Serialize};

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
