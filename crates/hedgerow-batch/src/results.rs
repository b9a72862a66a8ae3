//! Results: the answer to each line, as a line of the output or the error file.

use rusqlite::params;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::files::Part;
use crate::{Store, StoreError, id};

/// What is known of a line, and so in which file its result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineState {
    /// Not run, or being run.
    Waiting = 0,
    /// Its answer is in the output file.
    Output = 1,
    /// Its error is in the error file.
    Error = 2,
}

impl LineState {
    pub(crate) fn of(number: i64) -> Self {
        match number {
            1 => Self::Output,
            2 => Self::Error,
            _ => Self::Waiting,
        }
    }
}

/// The answer to a line's request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status. With a status from 200 to 299 it is in the output file, with any other in the error file.
    pub status_code: u16,
    /// The request's id in the server's log; `None` if it was refused before it had one.
    pub request_id: Option<String>,
    /// The body of the answer.
    pub body: Box<RawValue>,
}

/// Why a line has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    Expired,
    Cancelled,
}

/// A result, as OpenAI's API has it.
#[derive(Serialize)]
struct ResultLine<'a> {
    id: String,
    custom_id: &'a str,
    response: Option<Response<'a>>,
    error: Option<ErrorOfLine>,
}

#[derive(Serialize)]
struct Response<'a> {
    status_code: u16,
    request_id: Option<&'a str>,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct ErrorOfLine {
    code: &'static str,
    message: &'static str,
}

impl Answer {
    pub(crate) fn state(&self) -> LineState {
        if (200..300).contains(&self.status_code) { LineState::Output } else { LineState::Error }
    }

    /// The line of the result file, with its line break.
    pub(crate) fn line(&self, custom_id: &str) -> Vec<u8> {
        let Self { status_code, request_id, body } = self;
        let response = Response { status_code: *status_code, request_id: request_id.as_deref(), body };
        encode(custom_id, Some(response), None)
    }
}

impl NoAnswer {
    /// The line of the error file, with its line break.
    pub(crate) fn line(self, custom_id: &str) -> Vec<u8> {
        let error = match self {
            Self::Expired => ErrorOfLine {
                code: "batch_expired",
                message: "This request could not be executed before the completion window expired.",
            },
            Self::Cancelled => ErrorOfLine {
                code: "batch_cancelled",
                message: "The batch was cancelled before this request was executed.",
            },
        };
        encode(custom_id, None, Some(error))
    }
}

fn encode(custom_id: &str, response: Option<Response<'_>>, error: Option<ErrorOfLine>) -> Vec<u8> {
    let line = ResultLine { id: id::new("batch_req_"), custom_id, response, error };
    let mut line = serde_json::to_vec(&line).expect("texts, numbers and JSON are JSON");
    // A body may be written over several lines; JSON has line breaks only where blanks may be.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    line
}

impl Store {
    /// The results in one file, of the lines after a number, until they have about this many bytes.
    pub(crate) fn results(
        &self,
        batch: i64,
        state: LineState,
        after: i64,
        bytes: usize,
    ) -> Result<Option<Part>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, result FROM lines WHERE batch = ? AND state = ? AND number > ? ORDER BY number",
        )?;
        let mut rows = statement.query(params![batch, state as i64, after])?;
        let mut part = Part { bytes: Vec::new(), next: after };
        while part.bytes.len() < bytes {
            let Some(row) = rows.next()? else { break };
            part.next = row.get(0)?;
            let result = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            part.bytes.extend_from_slice(result);
        }
        Ok((!part.bytes.is_empty()).then_some(part))
    }
}
