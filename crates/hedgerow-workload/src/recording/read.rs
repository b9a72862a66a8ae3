//! Reading a recording up to the first invalid line.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use hedgerow_core::Event;
use hedgerow_core::output::Record;
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::time::Instant;
use hedgerow_core::units::{Bytes, Tokens};
use serde::Deserialize;

use crate::text_file::without_byte_order_mark;

use super::{FORMAT, Header, Line, RecordedEvent, Recording, What};

/// Why a file cannot be read as a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[from] io::Error),
    /// Its first line is incomplete.
    #[error("its first line is cut off, so it does not say of which node it is")]
    NoHeader,
    /// It has another format or version.
    #[error("it is not a recording of the format {FORMAT}: {found}")]
    OtherFormat {
        /// What its first line contains instead.
        found: String,
    },
    /// Its first line describes an impossible node.
    #[error("its first line does not describe a node: {mistake}")]
    BadHeader {
        /// What is wrong with it.
        mistake: String,
    },
}

impl RecordingError {
    /// How to fix the error.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "give a file that `hedgerow serve --record FILE` wrote",
            Self::NoHeader => {
                "the server writes it once it has measured the model; let it come that far and stop it with Ctrl-C"
            }
            Self::OtherFormat { .. } | Self::BadHeader { .. } => {
                "give a file that `hedgerow serve --record FILE` of this version wrote"
            }
        }
    }
}

/// The first invalid line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub mistake: String,
}

/// The part of the first line that is common to all versions.
#[derive(Deserialize)]
struct Beginning {
    format: String,
}

impl Recording {
    /// Reads a recording up to the first invalid line, which [`Recording::damage`] describes; a killed server leaves
    /// a truncated line.
    ///
    /// # Errors
    ///
    /// When the input cannot be read or does not begin with a valid header.
    pub fn read(mut input: impl BufRead) -> Result<Self, RecordingError> {
        let mut text = Vec::new();
        input.read_until(b'\n', &mut text)?;
        let mut reader = Reader::new(header(without_byte_order_mark(&text))?);
        loop {
            text.clear();
            if input.read_until(b'\n', &mut text)? == 0 {
                return Ok(reader.recording);
            }
            if let Err(mistake) = reader.take(&text) {
                let line = reader.recording.line_count + 1;
                reader.recording.damage = Some(Damage { line, mistake });
                return Ok(reader.recording);
            }
        }
    }
}

fn header(text: &[u8]) -> Result<Header, RecordingError> {
    let other = |found: String| RecordingError::OtherFormat { found };
    let is_object = text.starts_with(b"{");
    match serde_json::from_slice(text) {
        Ok(Beginning { format }) if format == FORMAT => {}
        Ok(Beginning { format }) => return Err(other(format!("it says `{format}`"))),
        Err(_) if text.is_empty() || is_object && !text.ends_with(b"\n") => {
            return Err(RecordingError::NoHeader);
        }
        Err(_) => return Err(other("its first line names no format".into())),
    }
    let bad = |mistake: String| RecordingError::BadHeader { mistake };
    let header: Header = serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;
    let node = &header.node;
    if node.precisions.is_empty() || node.max_parallel == 0 {
        return Err(bad("it holds no precision, or runs no request at once".into()));
    }
    if node.model.kv_per_token() == Bytes::ZERO {
        return Err(bad("a token of its model takes no memory".into()));
    }
    Ok(header)
}

struct Reader {
    recording: Recording,
    /// The requests that have arrived, and whether they have ended.
    requests: BTreeMap<RequestId, bool>,
}

impl Reader {
    fn new(header: Header) -> Self {
        let recording = Recording { header, events: Vec::new(), line_count: 1, damage: None };
        Self { recording, requests: BTreeMap::new() }
    }

    /// Adds a line, or returns what is wrong with it.
    fn take(&mut self, text: &[u8]) -> Result<(), String> {
        if !text.ends_with(b"\n") {
            return Err("it is cut off".into());
        }
        let Line { at, what } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let before = self.recording.events.last().map_or(Instant::START, |last| last.at);
        if at < before {
            return Err(format!("time goes back from {} ns to {} ns", before.0, at.0));
        }
        match what {
            What::Event(event) => self.take_event(at, event)?,
            What::End(record) => self.take_end(*record)?,
        }
        self.recording.line_count += 1;
        Ok(())
    }

    fn take_event(&mut self, at: Instant, event: Event) -> Result<(), String> {
        if let Event::Arrived(Request { id, arrived, max_output, .. }) = &event {
            if *max_output == Tokens::ZERO {
                return Err(format!("{id} asks for no token"));
            }
            if *arrived > at {
                return Err(format!("{id} is received before it arrives"));
            }
            if self.requests.insert(*id, false).is_some() {
                return Err(format!("{id} arrives twice"));
            }
        }
        let line = self.recording.line_count + 1;
        self.recording.events.push(RecordedEvent { line, at, event, ended: Vec::new() });
        Ok(())
    }

    fn take_end(&mut self, record: Record) -> Result<(), String> {
        let id = record.request.id;
        match self.requests.insert(id, true) {
            None => return Err(format!("{id} ends and has not arrived")),
            Some(true) => return Err(format!("{id} ends twice")),
            Some(false) => {}
        }
        let event = self.recording.events.last_mut().ok_or("a request ends before the first event")?;
        event.ended.push(record);
        Ok(())
    }
}
