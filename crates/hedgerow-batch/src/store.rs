//! The store: the database and the limits of what it takes.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use crate::files::{Upload, UploadId};
use crate::{StoreError, schema};

/// What the store takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one line of a batch.
    pub line_bytes: u64,
    /// Lines of one batch.
    pub lines: u64,
    /// Bytes of all files and results: no file is taken that would exceed it. Results of batches that were taken are
    /// stored in any case.
    pub stored_bytes: u64,
    /// Batches that are not finished.
    pub unfinished: u64,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The objects, in the order of the list.
    pub data: Vec<T>,
    /// Whether there are more after them.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// Makes a page of at most `limit` of objects, of which one more was asked for.
    pub(crate) fn of(mut data: Vec<T>, limit: usize) -> Self {
        let has_more = data.len() > limit;
        data.truncate(limit);
        Self { data, has_more }
    }
}

/// The files and batches of a server. One process has it open at a time.
///
/// Its methods block, and each change waits for the disk. Times are in Unix seconds.
#[derive(Debug)]
pub struct Store {
    pub(crate) connection: Connection,
    pub(crate) limits: Limits,
    pub(crate) uploads: BTreeMap<UploadId, Upload>,
}

impl Store {
    /// Opens the database in a folder, or creates both. Uploads that were interrupted are removed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written ([`StoreError::Unwritable`]), another process uses the database
    /// ([`StoreError::InUse`]), or the database cannot be used ([`StoreError::Damaged`], [`StoreError::Newer`]).
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, StoreError> {
        let connection = schema::open(folder)?;
        Ok(Self { connection, limits, uploads: BTreeMap::new() })
    }
}

/// A number of bytes or lines as SQLite has it.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
