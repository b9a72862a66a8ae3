//! The lines of a recording after its first: what the pipeline was told, and what ended.

use hedgerow_core::Event;
use hedgerow_core::output::Record;
use hedgerow_core::time::Instant;
use serde::{Deserialize, Serialize};

/// Each further line: something that happened, and when the pipeline was told.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The pipeline was told this.
    Event(Event),
    /// The event before it ended this request.
    End(Box<Record>),
}
