//! The database's tables, and how it is opened.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::StoreError;

/// The file of the database. SQLite keeps its log beside it, `batches.sqlite-wal`.
const FILE: &str = "batches.sqlite";

/// Says in the file's header that it is ours: "hgrw".
const APPLICATION: i64 = 0x6867_7277;

/// The version of the tables.
const VERSION: i64 = 1;

/// How long another process may take to close the database, as a server does that is being replaced.
const PATIENCE: Duration = Duration::from_secs(2);

/// Only the server's own user may read prompts and answers.
const FOLDER_MODE: u32 = 0o700;

/// `lines.is_begun` says that a line was begun and not given back: if it is found at the start, the process ended while
/// the line ran. `lines.state` says where a line's result is: see [`crate::results`]. A batch's `result_bytes` are those results that
/// no row of `files` counts yet.
const TABLES: &str = "
CREATE TABLE files (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    is_complete INTEGER NOT NULL,
    batch INTEGER REFERENCES batches (key),
    state INTEGER
) STRICT;
CREATE TABLE chunks (
    file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (file, number)
) STRICT;
CREATE TABLE batches (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    endpoint TEXT NOT NULL,
    input TEXT NOT NULL,
    completion_window TEXT NOT NULL,
    metadata TEXT,
    status TEXT NOT NULL,
    errors TEXT,
    total INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    result_bytes INTEGER NOT NULL DEFAULT 0,
    output TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    in_progress_at INTEGER,
    finalizing_at INTEGER,
    completed_at INTEGER,
    failed_at INTEGER,
    expired_at INTEGER,
    cancelling_at INTEGER,
    cancelled_at INTEGER
) STRICT;
CREATE INDEX unfinished ON batches (expires_at)
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE TABLE lines (
    batch INTEGER NOT NULL REFERENCES batches (key),
    number INTEGER NOT NULL,
    custom_id TEXT NOT NULL,
    start INTEGER NOT NULL,
    length INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    is_begun INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    result BLOB,
    UNIQUE (batch, number),
    UNIQUE (batch, custom_id)
) STRICT;
CREATE INDEX waiting ON lines (batch, interruptions, number) WHERE state = 0;
CREATE INDEX begun ON lines (batch) WHERE state = 0 AND is_begun = 1;
";

pub(crate) fn open(folder: &Path) -> Result<Connection, StoreError> {
    let database = folder.join(FILE);
    let unwritable = |error| StoreError::Unwritable { folder: folder.to_owned(), error };
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(unwritable)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    prepare(&database, flags).map_err(|error| {
        let StoreError::Database(error) = error else { return error };
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                unwritable(std::io::Error::other(error))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { database },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { database, error: error.to_string() }
            }
            _ => StoreError::Database(error),
        }
    })
}

fn prepare(database: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let mut connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // The exclusive lock keeps a second server from running the same lines. It ends with the process. `FULL` waits for
    // the disk at each commit; `fullfsync` makes macOS do so too. `auto_vacuum` lets a deleted file's space go.
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;",
    )?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let pragma =
        |name: &str| transaction.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => transaction.execute_batch(&format!(
            "{TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
        ))?,
        (APPLICATION, VERSION) => {}
        (APPLICATION, found) if found > VERSION => {
            return Err(StoreError::Newer { database: database.to_owned(), found, known: VERSION });
        }
        _ => {
            let error = "it has the tables of another program".to_owned();
            return Err(StoreError::Damaged { database: database.to_owned(), error });
        }
    }
    transaction.execute("DELETE FROM files WHERE NOT is_complete", [])?;
    transaction.execute(
        "UPDATE lines SET interruptions = interruptions + 1, is_begun = 0 WHERE state = 0 AND is_begun = 1",
        [],
    )?;
    transaction.commit()?;
    Ok(connection)
}
