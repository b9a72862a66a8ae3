//! Files: uploads in chunks, and results as if they were files.

use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use crate::results::LineState;
use crate::store::int;
use crate::{Page, Store, StoreError, id};

/// Bytes of a chunk. All chunks of a file but its last have as many, so that a place in the file is a place in a chunk.
const CHUNK_BYTES: usize = 256 * 1024;

/// The purpose of a file with results.
pub(crate) const OUTPUT: &str = "batch_output";

/// The purpose of a file with the lines of a batch.
pub(crate) const INPUT: &str = "batch";

/// A file, as OpenAI's API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileObject {
    /// `file-` and random digits.
    pub id: String,
    object: &'static str,
    /// Its size.
    pub bytes: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// The name that it was uploaded with.
    pub filename: String,
    /// `batch` or `batch_output`.
    pub purpose: String,
    status: &'static str,
}

/// What a list of files is restricted to, and its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only files of this purpose.
    pub purpose: Option<String>,
    /// Only files after the one with this id.
    pub after: Option<String>,
    /// The oldest first, and not the newest.
    pub oldest_first: bool,
}

/// Names a file that is being uploaded. Until [`Store::finish_upload`] no other call sees the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadId(i64);

/// What is known of a file that is being uploaded, besides its stored chunks.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    bytes: u64,
    /// The beginning of the next chunk.
    rest: Vec<u8>,
    next_chunk: i64,
}

/// A part of a file's content, and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The bytes; at least one.
    pub bytes: Vec<u8>,
    /// For the next call of [`Store::part`].
    pub next: i64,
}

const COLUMNS: &str = "id, bytes, created_at, filename, purpose";

fn object(row: &Row<'_>) -> rusqlite::Result<FileObject> {
    Ok(FileObject {
        id: row.get(0)?,
        object: "file",
        bytes: row.get(1)?,
        created_at: row.get(2)?,
        filename: row.get(3)?,
        purpose: row.get(4)?,
        status: "processed",
    })
}

impl Store {
    /// Begins an upload.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn begin_upload(&mut self, now: i64) -> Result<UploadId, StoreError> {
        self.connection.execute(
            "INSERT INTO files (id, filename, purpose, bytes, created_at, is_complete) VALUES (?, '', ?, 0, ?, 0)",
            params![id::new("file-"), INPUT, now],
        )?;
        let id = UploadId(self.connection.last_insert_rowid());
        self.uploads.insert(id, Upload::default());
        Ok(id)
    }

    /// Adds bytes to an upload.
    ///
    /// # Errors
    ///
    /// When the file becomes too large, there is no room for it, or the upload has ended. An upload that failed is to be
    /// dropped by [`Store::drop_upload`].
    pub fn append(&mut self, id: UploadId, bytes: &[u8]) -> Result<(), StoreError> {
        let (used, limits) = (self.stored_bytes()?, self.limits);
        let upload = self.uploads.get_mut(&id).ok_or(StoreError::NoUpload)?;
        let size = upload.bytes.saturating_add(bytes.len() as u64);
        if size > limits.file_bytes {
            return Err(StoreError::FileTooLarge { limit: limits.file_bytes });
        }
        if used.saturating_add(bytes.len() as u64) > limits.stored_bytes {
            return Err(StoreError::Full { used, limit: limits.stored_bytes });
        }
        upload.bytes = size;
        upload.rest.extend_from_slice(bytes);
        let transaction = self.connection.transaction()?;
        let whole = upload.rest.len() / CHUNK_BYTES * CHUNK_BYTES;
        for chunk in upload.rest[..whole].chunks(CHUNK_BYTES) {
            insert_chunk(&transaction, id, upload.next_chunk, chunk)?;
            upload.next_chunk += 1;
        }
        transaction.execute("UPDATE files SET bytes = ? WHERE key = ?", params![int(size), id.0])?;
        transaction.commit()?;
        upload.rest.drain(..whole);
        Ok(())
    }

    /// Ends an upload: from now on the file is there, and stays there.
    ///
    /// # Errors
    ///
    /// When the database fails, or the upload has ended.
    pub fn finish_upload(&mut self, id: UploadId, filename: &str) -> Result<FileObject, StoreError> {
        let upload = self.uploads.get(&id).ok_or(StoreError::NoUpload)?;
        let transaction = self.connection.transaction()?;
        if !upload.rest.is_empty() {
            insert_chunk(&transaction, id, upload.next_chunk, &upload.rest)?;
        }
        let file = transaction.query_row(
            &format!("UPDATE files SET filename = ?, is_complete = 1 WHERE key = ? RETURNING {COLUMNS}"),
            params![filename, id.0],
            object,
        )?;
        transaction.commit()?;
        self.uploads.remove(&id);
        Ok(file)
    }

    /// Removes what was uploaded of a file; does nothing if the upload has ended.
    ///
    /// # Errors
    ///
    /// When the database fails; the next start removes it then.
    pub fn drop_upload(&mut self, id: UploadId) -> Result<(), StoreError> {
        self.uploads.remove(&id);
        self.connection.execute("DELETE FROM files WHERE key = ? AND NOT is_complete", [id.0])?;
        Ok(())
    }

    /// Returns a file.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn file(&self, id: &str) -> Result<FileObject, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM files WHERE id = ? AND is_complete");
        let file = self.connection.prepare_cached(&query)?.query_row([id], object).optional()?;
        file.ok_or_else(|| StoreError::NoFile(id.to_owned()))
    }

    /// Returns a page of the files.
    ///
    /// # Errors
    ///
    /// When there is no file with the id to start after.
    pub fn files(&self, listing: &Listing, limit: usize) -> Result<Page<FileObject>, StoreError> {
        let after = listing.after.as_deref().map(|id| self.file_key(id)).transpose()?;
        let (order, before) = if listing.oldest_first { ("ASC", "<") } else { ("DESC", ">") };
        let query = format!(
            "SELECT {COLUMNS} FROM files WHERE is_complete AND (?1 IS NULL OR ?1 {before} key)
             AND (?2 IS NULL OR purpose = ?2) ORDER BY key {order} LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&query)?;
        let one_more = int(limit as u64).saturating_add(1);
        let rows = statement.query_map(params![after, listing.purpose, one_more], object)?;
        Ok(Page::of(rows.collect::<Result<_, _>>()?, limit))
    }

    /// Deletes a file, and with a result file the results in it.
    ///
    /// # Errors
    ///
    /// When there is none, or an unfinished batch needs it.
    pub fn delete_file(&mut self, id: &str) -> Result<(), StoreError> {
        let key = self.file_key(id)?;
        let needed_by: Option<String> = self
            .connection
            .query_row(
                "SELECT id FROM batches WHERE input = ?
                 AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')",
                [id],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(batch) = needed_by {
            return Err(StoreError::FileInUse { file: id.to_owned(), batch });
        }
        let transaction = self.connection.transaction()?;
        let (batch, state): (Option<i64>, Option<i64>) = transaction.query_row(
            "DELETE FROM files WHERE key = ? RETURNING batch, state",
            [key],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if let Some(batch) = batch {
            transaction.execute("DELETE FROM lines WHERE batch = ? AND state = ?", params![batch, state])?;
        }
        transaction.commit()?;
        // If the space is not given back now, the next deletion does it.
        let _ = self.give_space_back();
        Ok(())
    }

    /// Gives the space of deleted rows back to the file system.
    fn give_space_back(&self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("PRAGMA incremental_vacuum")?;
        // Each step frees one page.
        let mut steps = statement.raw_query();
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// Returns the part of a file's content that begins at `from`: 0, or [`Part::next`] of the part before; `None` after
    /// the last one.
    ///
    /// # Errors
    ///
    /// When there is no such file (any more).
    pub fn part(&self, id: &str, from: i64) -> Result<Option<Part>, StoreError> {
        let of = "SELECT key, batch, state FROM files WHERE id = ? AND is_complete";
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = self.connection.prepare_cached(of)?.query_row([id], row).optional()?;
        let (key, batch, state): (i64, Option<i64>, Option<i64>) =
            found.ok_or_else(|| StoreError::NoFile(id.to_owned()))?;
        if let (Some(batch), Some(state)) = (batch, state) {
            return self.results(batch, LineState::of(state), from, CHUNK_BYTES);
        }
        let bytes = self
            .connection
            .prepare_cached("SELECT bytes FROM chunks WHERE file = ? AND number = ?")?
            .query_row([key, from], |row| row.get(0))
            .optional()?;
        Ok(bytes.map(|bytes| Part { bytes, next: from + 1 }))
    }

    /// Reads some bytes of an uploaded file.
    pub(crate) fn range(&self, file: i64, start: usize, length: usize) -> Result<Vec<u8>, StoreError> {
        let (first, last) = (start / CHUNK_BYTES, (start + length).saturating_sub(1) / CHUNK_BYTES);
        let mut statement = self.connection.prepare_cached(
            "SELECT bytes FROM chunks WHERE file = ? AND number BETWEEN ? AND ? ORDER BY number",
        )?;
        let mut rows = statement.query(params![file, first as i64, last as i64])?;
        let mut bytes = Vec::with_capacity((last - first + 1) * CHUNK_BYTES);
        while let Some(row) = rows.next()? {
            let chunk = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            bytes.extend_from_slice(chunk);
        }
        let start = start - first * CHUNK_BYTES;
        bytes.truncate(start + length);
        bytes.drain(..start.min(bytes.len()));
        Ok(bytes)
    }

    pub(crate) fn file_key(&self, id: &str) -> Result<i64, StoreError> {
        let key = self
            .connection
            .prepare_cached("SELECT key FROM files WHERE id = ? AND is_complete")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        key.ok_or_else(|| StoreError::NoFile(id.to_owned()))
    }

    /// Bytes of all files, uploads and results.
    fn stored_bytes(&self) -> Result<u64, StoreError> {
        let sum = "SELECT (SELECT coalesce(sum(bytes), 0) FROM files)
             + (SELECT coalesce(sum(result_bytes), 0) FROM batches)";
        let bytes: i64 = self.connection.prepare_cached(sum)?.query_row([], |row| row.get(0))?;
        Ok(bytes.unsigned_abs())
    }
}

fn insert_chunk(
    connection: &rusqlite::Connection,
    file: UploadId,
    number: i64,
    bytes: &[u8],
) -> rusqlite::Result<()> {
    let insert = "INSERT INTO chunks (file, number, bytes) VALUES (?, ?, ?)";
    connection.prepare_cached(insert)?.execute(params![file.0, number, bytes]).map(drop)
}
