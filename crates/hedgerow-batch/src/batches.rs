//! Batches: their objects, and how they are created, listed and cancelled.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use crate::files::INPUT;
use crate::store::int;
use crate::{CompletionWindow, LineError, Page, Store, StoreError, id};

/// Names of a batch's metadata, with their values.
pub type Metadata = BTreeMap<String, String>;

/// Limits of OpenAI's API for metadata.
const METADATA_PAIRS: usize = 16;
const METADATA_NAME_LETTERS: usize = 64;
const METADATA_VALUE_LETTERS: usize = 512;

/// The status of a batch, by OpenAI's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its lines are to be checked.
    Validating,
    /// A line is wrong, or there is none; nothing was run.
    Failed,
    /// Its lines are run.
    InProgress,
    /// Its result files are made. They are made in the transaction that ends the batch, so no call sees this.
    Finalizing,
    /// Each line has its result.
    Completed,
    /// Its window passed before each line had a result.
    Expired,
    /// It is to end as soon as its running lines have stopped.
    Cancelling,
    /// It ended because a caller cancelled it.
    Cancelled,
}

impl Status {
    const ALL: [Self; 8] = [
        Self::Validating,
        Self::Failed,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// OpenAI's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the batch stays as it is.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Failed | Self::Completed | Self::Expired | Self::Cancelled => true,
            Self::Validating | Self::InProgress | Self::Finalizing | Self::Cancelling => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.name().to_sql()
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|status| status.name() == name).ok_or(FromSqlError::InvalidType)
    }
}

/// A batch, as OpenAI's API has it. Times are in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchObject {
    /// `batch_` and random digits.
    pub id: String,
    object: &'static str,
    /// The path that its lines are sent to.
    pub endpoint: String,
    /// Why it failed.
    pub errors: Option<BatchErrors>,
    /// The file with its lines.
    pub input_file_id: String,
    /// As it was asked for.
    pub completion_window: String,
    /// What happens to it.
    pub status: Status,
    /// The file with the answers; `None` before the end, and if there are none.
    pub output_file_id: Option<String>,
    /// The file with the errors; `None` before the end, and if there are none.
    pub error_file_id: Option<String>,
    /// When it was created.
    pub created_at: i64,
    /// When its lines had been checked.
    pub in_progress_at: Option<i64>,
    /// When its window passes.
    pub expires_at: i64,
    /// When its files began to be made.
    pub finalizing_at: Option<i64>,
    /// When it was complete.
    pub completed_at: Option<i64>,
    /// When it failed.
    pub failed_at: Option<i64>,
    /// When it ended because its window had passed.
    pub expired_at: Option<i64>,
    /// When a caller cancelled it.
    pub cancelling_at: Option<i64>,
    /// When it ended because a caller had cancelled it.
    pub cancelled_at: Option<i64>,
    /// How many lines have been run.
    pub request_counts: RequestCounts,
    /// The caller's own notes.
    pub metadata: Option<Metadata>,
}

/// The lines of a batch by their state; those that were not run when it ended are only in `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// All lines; 0 until they have been checked.
    pub total: i64,
    /// Lines with an answer in the output file.
    pub completed: i64,
    /// Lines with an error as their answer.
    pub failed: i64,
}

/// A list of what is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchErrors {
    object: &'static str,
    /// The errors, by line.
    pub data: Vec<LineError>,
}

/// A batch that a caller asks for.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// One of [`crate::ENDPOINTS`].
    pub endpoint: &'static str,
    /// The id of an uploaded file.
    pub input_file_id: String,
    /// When it expires.
    pub window: CompletionWindow,
    /// The caller's own notes.
    pub metadata: Option<Metadata>,
}

const COLUMNS: &str = "id, endpoint, errors, input, completion_window, status, output, error, created_at, in_progress_at,
    expires_at, finalizing_at, completed_at, failed_at, expired_at, cancelling_at, cancelled_at, total, completed, failed,
    metadata";

fn object(row: &Row<'_>) -> rusqlite::Result<BatchObject> {
    // What this crate wrote is JSON; what it cannot read any more is left out.
    fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
    Ok(BatchObject {
        id: row.get("id")?,
        object: "batch",
        endpoint: row.get("endpoint")?,
        errors: json(row, "errors")?.map(|data| BatchErrors { object: "list", data }),
        input_file_id: row.get("input")?,
        completion_window: row.get("completion_window")?,
        status: row.get("status")?,
        output_file_id: row.get("output")?,
        error_file_id: row.get("error")?,
        created_at: row.get("created_at")?,
        in_progress_at: row.get("in_progress_at")?,
        expires_at: row.get("expires_at")?,
        finalizing_at: row.get("finalizing_at")?,
        completed_at: row.get("completed_at")?,
        failed_at: row.get("failed_at")?,
        expired_at: row.get("expired_at")?,
        cancelling_at: row.get("cancelling_at")?,
        cancelled_at: row.get("cancelled_at")?,
        request_counts: RequestCounts {
            total: row.get("total")?,
            completed: row.get("completed")?,
            failed: row.get("failed")?,
        },
        metadata: json(row, "metadata")?,
    })
}

fn check_metadata(metadata: &Metadata) -> Result<(), StoreError> {
    if metadata.len() > METADATA_PAIRS {
        let message = format!("`metadata` has {} names, and {METADATA_PAIRS} is the limit", metadata.len());
        return Err(StoreError::Metadata(message));
    }
    for (name, value) in metadata {
        for (what, text, limit) in
            [("a name", name, METADATA_NAME_LETTERS), ("a value", value, METADATA_VALUE_LETTERS)]
        {
            let letters = text.chars().count();
            if letters > limit {
                let message = format!("{what} in `metadata` has {letters} letters, and {limit} is the limit");
                return Err(StoreError::Metadata(message));
            }
        }
    }
    Ok(())
}

impl Store {
    /// Creates a batch, whose lines are yet to be checked.
    ///
    /// # Errors
    ///
    /// When there is no such input, its purpose is another, the metadata are too large, or too many batches are
    /// unfinished.
    pub fn create_batch(&mut self, new: &NewBatch, now: i64) -> Result<BatchObject, StoreError> {
        let NewBatch { endpoint, input_file_id, window, metadata } = new;
        let input = self.file(input_file_id)?;
        if input.purpose != INPUT {
            return Err(StoreError::WrongPurpose { file: input.id, purpose: input.purpose });
        }
        metadata.as_ref().map_or(Ok(()), check_metadata)?;
        let limit = self.limits.unfinished;
        if self.open_batches()?.len() as u64 >= limit {
            return Err(StoreError::TooManyBatches { limit });
        }
        let metadata = metadata.as_ref().map(serde_json::to_string).transpose();
        let batch = self.connection.query_row(
            &format!(
                "INSERT INTO batches (id, endpoint, input, completion_window, metadata, status, created_at, expires_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING {COLUMNS}"
            ),
            params![
                id::new("batch_"),
                endpoint,
                input_file_id,
                window.to_string(),
                metadata.expect("texts are JSON"),
                Status::Validating,
                now,
                now.saturating_add(window.seconds()),
            ],
            object,
        )?;
        Ok(batch)
    }

    /// Returns a batch.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn batch(&self, id: &str) -> Result<BatchObject, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM batches WHERE id = ?");
        let batch = self.connection.prepare_cached(&query)?.query_row([id], object).optional()?;
        batch.ok_or_else(|| StoreError::NoBatch(id.to_owned()))
    }

    /// Returns a batch by its place in the database.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn batch_by_key(&self, key: i64) -> Result<BatchObject, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM batches WHERE key = ?");
        Ok(self.connection.prepare_cached(&query)?.query_row([key], object)?)
    }

    /// Returns a page of the batches, the newest first, beginning after the one with an id.
    ///
    /// # Errors
    ///
    /// When there is none with that id.
    pub fn batches(&self, after: Option<&str>, limit: usize) -> Result<Page<BatchObject>, StoreError> {
        let after = after.map(|id| self.batch_key(id)).transpose()?;
        let query =
            format!("SELECT {COLUMNS} FROM batches WHERE ?1 IS NULL OR key < ?1 ORDER BY key DESC LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&query)?;
        let rows = statement.query_map(params![after, int(limit as u64).saturating_add(1)], object)?;
        Ok(Page::of(rows.collect::<Result<_, _>>()?, limit))
    }

    /// Has a batch cancelled: no more of its lines begin. It ends by [`Store::end_cancelled`].
    ///
    /// # Errors
    ///
    /// When there is none, or it has ended.
    pub fn cancel(&mut self, id: &str, now: i64) -> Result<BatchObject, StoreError> {
        let batch = self.batch(id)?;
        if batch.status.has_ended() {
            return Err(StoreError::Ended { id: batch.id, status: batch.status });
        }
        if batch.status == Status::Cancelling {
            return Ok(batch);
        }
        let update =
            format!("UPDATE batches SET status = ?, cancelling_at = ? WHERE id = ? RETURNING {COLUMNS}");
        Ok(self.connection.query_row(&update, params![Status::Cancelling, now, id], object)?)
    }

    fn batch_key(&self, id: &str) -> Result<i64, StoreError> {
        let key = self
            .connection
            .query_row("SELECT key FROM batches WHERE id = ?", [id], |row| row.get(0))
            .optional()?;
        key.ok_or_else(|| StoreError::NoBatch(id.to_owned()))
    }
}
