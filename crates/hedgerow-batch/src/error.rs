//! What can go wrong with the store.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::batches::Status;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be created or written.
    #[error("the folder {} cannot be written: {error}", folder.display())]
    Unwritable {
        /// The folder of the database.
        folder: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Another process has the database open.
    #[error("another process uses {}", database.display())]
    InUse {
        /// The database.
        database: PathBuf,
    },
    /// The database is damaged, or is another program's.
    #[error("{} is damaged, or no database of hedgerow's: {error}", database.display())]
    Damaged {
        /// The database.
        database: PathBuf,
        /// What was found.
        error: String,
    },
    /// The database was written by a newer program.
    #[error("{} has version {found}, and this program knows versions up to {known}", database.display())]
    Newer {
        /// The database.
        database: PathBuf,
        /// The version of the database.
        found: i64,
        /// The version that this program writes.
        known: i64,
    },
    /// There is no such file.
    #[error("there is no file `{0}`")]
    NoFile(String),
    /// There is no such batch.
    #[error("there is no batch `{0}`")]
    NoBatch(String),
    /// The upload has ended.
    #[error("the upload has ended")]
    NoUpload,
    /// The file is larger than [`crate::Limits::file_bytes`].
    #[error("the file is larger than the limit of {limit} bytes")]
    FileTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The stored bytes would be more than [`crate::Limits::stored_bytes`].
    #[error("files and results hold {used} bytes, and with this file they would exceed the limit of {limit}")]
    Full {
        /// The bytes stored.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There are as many unfinished batches as [`crate::Limits::unfinished`].
    #[error("{limit} batches are unfinished, which is the limit")]
    TooManyBatches {
        /// The limit.
        limit: u64,
    },
    /// The file is the input of an unfinished batch.
    #[error("the file `{file}` is the input of the batch `{batch}`, which is not finished")]
    FileInUse {
        /// The file's id.
        file: String,
        /// The batch's id.
        batch: String,
    },
    /// The batch has ended, so that it cannot be cancelled.
    #[error("the batch `{id}` is {status} already")]
    Ended {
        /// The batch's id.
        id: String,
        /// Its status.
        status: Status,
    },
    /// The file has another purpose than `batch`.
    #[error(
        "the file `{file}` has the purpose `{purpose}`, and the input of a batch has the purpose `batch`"
    )]
    WrongPurpose {
        /// The file's id.
        file: String,
        /// Its purpose.
        purpose: String,
    },
    /// The metadata of a batch are too many or too long.
    #[error("{0}")]
    Metadata(String),
    /// A stored line is not as it was checked.
    #[error("line {number} of the input cannot be read any more: {error}")]
    Line {
        /// The line's number.
        number: i64,
        /// What was found.
        error: String,
    },
    /// The disk is full.
    #[error("the disk with the database is full")]
    DiskFull,
    /// SQLite's own error.
    #[error("the database failed: {0}")]
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Database(error),
        }
    }
}
