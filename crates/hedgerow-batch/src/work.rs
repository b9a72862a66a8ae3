//! What a runner does: it checks the lines of a batch, runs them, stores their answers and ends the batch.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::value::RawValue;

use crate::batches::Status;
use crate::files::OUTPUT;
use crate::line::{self, LineReader, RawLine};
use crate::results::{LineState, NoAnswer};
use crate::store::int;
use crate::{Answer, LineError, Store, StoreError, id};

/// The most faults of an input that are reported.
const FAULTS_MAX: usize = 100;

/// A batch that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBatch {
    /// Its place in the database, for the calls of a runner.
    pub key: i64,
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: Status,
    /// When its window passes, in Unix seconds.
    pub expires_at: i64,
    /// How many of its lines have no result.
    pub waiting: i64,
}

/// A line that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Its number in the input.
    pub number: i64,
    /// How many processes have ended while it ran.
    pub interruptions: u32,
    /// What is to be run, or why it cannot be read any more.
    pub line: Result<Line, StoreError>,
}

/// Lines with so many interruptions run alone.
const SUSPECT: u32 = 2;

impl Begun {
    /// Whether no other line may run beside it.
    pub fn is_suspect(&self) -> bool {
        self.interruptions >= SUSPECT
    }
}

/// A line to run.
#[derive(Debug)]
pub struct Line {
    /// The caller's name for it.
    pub custom_id: String,
    /// The path to send it to.
    pub endpoint: String,
    /// The body to send.
    pub body: Box<RawValue>,
}

impl Store {
    /// The batches that have not ended, the one that expires first at the beginning.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn open_batches(&self) -> Result<Vec<OpenBatch>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, id, status, expires_at, total - completed - failed FROM batches
             WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling') ORDER BY expires_at, key",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(OpenBatch {
                key: row.get(0)?,
                id: row.get(1)?,
                status: row.get(2)?,
                expires_at: row.get(3)?,
                waiting: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Checks the lines of a batch. If all are right it is in progress, else it has failed. Returns its status.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn validate(&mut self, batch: i64, now: i64) -> Result<Status, StoreError> {
        let (status, input, endpoint) = self.connection.query_row(
            "SELECT status, input, endpoint FROM batches WHERE key = ?",
            [batch],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)),
        )?;
        if status != Status::Validating {
            return Ok(status);
        }
        // All on one connection, so the changes are in this transaction, beside what the store reads meanwhile.
        let transaction = self.connection.unchecked_transaction()?;
        let (total, faults) = self.insert_lines(batch, &input, &endpoint)?;
        if faults.is_empty() {
            transaction.execute(
                "UPDATE batches SET status = ?, in_progress_at = ?, total = ? WHERE key = ?",
                params![Status::InProgress, now, total, batch],
            )?;
            transaction.commit()?;
            return Ok(Status::InProgress);
        }
        transaction.execute("DELETE FROM lines WHERE batch = ?", [batch])?;
        let faults = serde_json::to_string(&faults).expect("texts and numbers are JSON");
        transaction.execute(
            "UPDATE batches SET status = ?, failed_at = ?, errors = ? WHERE key = ?",
            params![Status::Failed, now, faults, batch],
        )?;
        transaction.commit()?;
        Ok(Status::Failed)
    }

    /// Inserts the lines of an input; returns their number, and what is wrong with them.
    fn insert_lines(
        &self,
        batch: i64,
        input: &str,
        endpoint: &str,
    ) -> Result<(i64, Vec<LineError>), StoreError> {
        let mut faults = Vec::new();
        let mut total = 0;
        let lines_max = int(self.limits.lines);
        let bytes_max = usize::try_from(self.limits.line_bytes).unwrap_or(usize::MAX);
        let mut take = |line: RawLine<'_>| {
            total += 1;
            if total > lines_max || faults.len() >= FAULTS_MAX {
                return Ok(());
            }
            let fault = match line.bytes {
                None => {
                    let message = format!("the line is longer than the limit of {bytes_max} bytes");
                    Some(LineError::of_line("line_too_long", line.number, message, None))
                }
                Some(bytes) => match line::check(bytes, line.number, endpoint) {
                    Ok(read) => insert_line(&self.connection, batch, &line, &read.custom_id)?,
                    Err(fault) => Some(fault),
                },
            };
            faults.extend(fault);
            Ok::<(), StoreError>(())
        };
        let mut reader = LineReader::new(bytes_max);
        let mut from = 0;
        while let Some(part) = self.part(input, from)? {
            reader.read(&part.bytes, &mut take)?;
            from = part.next;
        }
        reader.end(&mut take)?;
        if total == 0 {
            faults.push(LineError::of_file("empty_file", "the input file has no lines".into()));
        } else if total > lines_max {
            let message = format!("the input file has {total} lines, and {lines_max} is the limit");
            faults.insert(0, LineError::of_file("too_many_lines", message));
        }
        Ok((total, faults))
    }

    /// Begins lines of a batch that wait and are not among `running`: at most `count`, in the order of their numbers.
    ///
    /// Lines during which a process has ended come last. Those during which two have ended are begun one by one, and only
    /// if `is_alone`: no line of any batch runs. So a line that makes the process end is soon known from those that ran
    /// beside it, and the others have their answers.
    ///
    /// # Errors
    ///
    /// When the database fails; then none has begun.
    pub fn begin(
        &mut self,
        batch: i64,
        running: &BTreeSet<i64>,
        count: usize,
        is_alone: bool,
    ) -> Result<Vec<Begun>, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let chosen = choose(&transaction, batch, running, count, is_alone)?;
        let mut begun = Vec::new();
        for (number, interruptions) in chosen {
            transaction
                .prepare_cached("UPDATE lines SET is_begun = 1 WHERE batch = ? AND number = ?")?
                .execute([batch, number])?;
            begun.push(Begun { number, interruptions, line: self.line(batch, number) });
        }
        if !begun.is_empty() {
            transaction.commit()?;
        }
        Ok(begun)
    }

    /// Gives all begun lines back: the process ends, but not because of them.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn give_back(&mut self) -> Result<(), StoreError> {
        self.connection.execute("UPDATE lines SET is_begun = 0 WHERE state = 0 AND is_begun = 1", [])?;
        Ok(())
    }

    /// Reads a line from the input.
    fn line(&self, batch: i64, number: i64) -> Result<Line, StoreError> {
        let of = "SELECT lines.start, lines.length, batches.input, batches.endpoint FROM lines
             JOIN batches ON batches.key = lines.batch WHERE lines.batch = ? AND lines.number = ?";
        let (start, length, input, endpoint): (i64, i64, String, String) = self
            .connection
            .prepare_cached(of)?
            .query_row([batch, number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let file = self.file_key(&input)?;
        let bytes = self.range(file, start.unsigned_abs() as usize, length.unsigned_abs() as usize)?;
        let read = line::check(&bytes, number, &endpoint)
            .map_err(|fault| StoreError::Line { number, error: fault.message })?;
        let (custom_id, body) = (read.custom_id.into_owned(), read.body.to_owned());
        Ok(Line { custom_id, endpoint, body })
    }

    /// Stores the answer to a line, and with the last one ends the batch. Returns the batch's status. The answer to a
    /// line that has a result already is dropped.
    ///
    /// # Errors
    ///
    /// When the database fails; the line then waits as before.
    pub fn finish(
        &mut self,
        batch: i64,
        number: i64,
        answer: &Answer,
        now: i64,
    ) -> Result<Status, StoreError> {
        let transaction = self.connection.transaction()?;
        let of = "SELECT custom_id FROM lines WHERE batch = ? AND number = ? AND state = 0";
        let custom_id: Option<String> =
            transaction.query_row(of, [batch, number], |row| row.get(0)).optional()?;
        if let Some(custom_id) = custom_id {
            let state = answer.state();
            store_result(&transaction, batch, number, state, &answer.line(&custom_id))?;
            let is_output = state == LineState::Output;
            transaction.execute(
                "UPDATE batches SET completed = completed + ?2, failed = failed + ?3 WHERE key = ?1",
                params![batch, is_output, !is_output],
            )?;
        }
        let (status, waiting): (Status, i64) = transaction.query_row(
            "SELECT status, total - completed - failed FROM batches WHERE key = ?",
            [batch],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let mut ended = status;
        if status == Status::InProgress && waiting == 0 {
            end(&transaction, batch, Status::Completed, "completed_at", now)?;
            ended = Status::Completed;
        }
        transaction.commit()?;
        Ok(ended)
    }

    /// Ends a batch whose window has passed, with the results that are there.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn end_expired(&mut self, batch: i64, now: i64) -> Result<(), StoreError> {
        self.end_early(batch, NoAnswer::Expired, now)
    }

    /// Ends a batch that is being cancelled, with the results that are there.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn end_cancelled(&mut self, batch: i64, now: i64) -> Result<(), StoreError> {
        self.end_early(batch, NoAnswer::Cancelled, now)
    }

    fn end_early(&mut self, batch: i64, reason: NoAnswer, now: i64) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        let current: Status =
            transaction.query_row("SELECT status FROM batches WHERE key = ?", [batch], |row| row.get(0))?;
        if current.has_ended() {
            return Ok(());
        }
        let waiting: Vec<(i64, String)> = {
            let mut statement = transaction
                .prepare_cached("SELECT number, custom_id FROM lines WHERE batch = ? AND state = 0")?;
            let rows = statement.query_map([batch], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (number, custom_id) in waiting {
            store_result(&transaction, batch, number, LineState::Error, &reason.line(&custom_id))?;
        }
        let (status, time) = match reason {
            NoAnswer::Expired => (Status::Expired, "expired_at"),
            NoAnswer::Cancelled => (Status::Cancelled, "cancelled_at"),
        };
        end(&transaction, batch, status, time, now)?;
        transaction.commit()?;
        Ok(())
    }
}

/// Chooses the lines to begin; returns their numbers and interruptions.
fn choose(
    connection: &Connection,
    batch: i64,
    running: &BTreeSet<i64>,
    count: usize,
    is_alone: bool,
) -> Result<Vec<(i64, u32)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, interruptions FROM lines WHERE batch = ?1 AND state = 0
         AND (SELECT status FROM batches WHERE key = ?1) = ?2 ORDER BY interruptions, number LIMIT ?3",
    )?;
    let limit = int((running.len() + count) as u64);
    let rows = statement
        .query_map(params![batch, Status::InProgress, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let waiting = rows.collect::<Result<Vec<(i64, u32)>, _>>()?;
    let mut chosen: Vec<(i64, u32)> =
        waiting.into_iter().filter(|(number, _)| !running.contains(number)).take(count).collect();
    let trusted = chosen.iter().take_while(|line| line.1 < SUSPECT).count();
    let most = if trusted == 0 && is_alone { 1 } else { trusted };
    chosen.truncate(most);
    Ok(chosen)
}

/// Inserts a line; returns its fault if another one has its `custom_id`.
fn insert_line(
    connection: &Connection,
    batch: i64,
    line: &RawLine<'_>,
    custom_id: &str,
) -> Result<Option<LineError>, StoreError> {
    let inserted = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO lines (batch, number, custom_id, start, length) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            batch,
            line.number,
            custom_id,
            int(line.place.start as u64),
            int(line.place.len() as u64)
        ])?;
    if inserted == 1 {
        return Ok(None);
    }
    let first: i64 = connection.query_row(
        "SELECT number FROM lines WHERE batch = ? AND custom_id = ?",
        params![batch, custom_id],
        |row| row.get(0),
    )?;
    let message = format!("`custom_id` is that of line {first}, but must be unique within the batch");
    Ok(Some(LineError::of_line("duplicate_custom_id", line.number, message, Some("custom_id"))))
}

fn store_result(
    transaction: &Transaction<'_>,
    batch: i64,
    number: i64,
    state: LineState,
    result: &[u8],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE lines SET state = ?, result = ? WHERE batch = ? AND number = ?")?
        .execute(params![state as i64, result, batch, number])?;
    transaction
        .prepare_cached("UPDATE batches SET result_bytes = result_bytes + ? WHERE key = ?")?
        .execute(params![int(result.len() as u64), batch])?;
    Ok(())
}

/// Ends a batch: makes its result files, sets its status, and the time of it in a column.
fn end(
    transaction: &Transaction<'_>,
    batch: i64,
    status: Status,
    time: &'static str,
    now: i64,
) -> rusqlite::Result<()> {
    let id: String =
        transaction.query_row("SELECT id FROM batches WHERE key = ?", [batch], |row| row.get(0))?;
    let output = result_file(transaction, batch, LineState::Output, &format!("{id}_output.jsonl"), now)?;
    let error = result_file(transaction, batch, LineState::Error, &format!("{id}_error.jsonl"), now)?;
    transaction.execute(
        &format!(
            "UPDATE batches SET status = ?2, output = ?3, error = ?4, finalizing_at = ?5, {time} = ?5,
             result_bytes = 0 WHERE key = ?1"
        ),
        params![batch, status, output, error, now],
    )?;
    Ok(())
}

/// Makes a file of the results in one state; `None` if there are none.
fn result_file(
    transaction: &Transaction<'_>,
    batch: i64,
    state: LineState,
    filename: &str,
    now: i64,
) -> rusqlite::Result<Option<String>> {
    let bytes: Option<i64> = transaction.query_row(
        "SELECT sum(length(result)) FROM lines WHERE batch = ? AND state = ?",
        params![batch, state as i64],
        |row| row.get(0),
    )?;
    let Some(bytes) = bytes else { return Ok(None) };
    let file = id::new("file-");
    transaction.execute(
        "INSERT INTO files (id, filename, purpose, bytes, created_at, is_complete, batch, state)
         VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
        params![file, filename, OUTPUT, bytes, now, batch, state as i64],
    )?;
    Ok(Some(file))
}
