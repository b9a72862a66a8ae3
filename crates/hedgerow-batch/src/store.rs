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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::value::RawValue;

    use super::*;
    use crate::{Answer, ENDPOINTS, NewBatch, Status};

    #[test]
    fn on_a_full_disk_a_line_waits_until_there_is_room() {
        let folder = std::env::temp_dir().join(format!("hedgerow-batch-full-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let limits =
            Limits { file_bytes: 1 << 20, line_bytes: 4096, lines: 9, stored_bytes: 1 << 20, unfinished: 9 };
        let mut store = Store::open(&folder, limits).unwrap();
        let upload = store.begin_upload(1).unwrap();
        let line = format!(r#"{{"custom_id":"a","method":"POST","url":"{}","body":{{}}}}"#, ENDPOINTS[0]);
        store.append(upload, line.as_bytes()).unwrap();
        let input_file_id = store.finish_upload(upload, "a").unwrap().id;
        let window = "1h".parse().unwrap();
        let new = NewBatch { endpoint: ENDPOINTS[0], input_file_id, window, metadata: None };
        let id = store.create_batch(&new, 1).unwrap().id;
        let key = store.open_batches().unwrap()[0].key;
        store.validate(key, 2).unwrap();
        assert_eq!(store.begin(key, &BTreeSet::new(), 1, true).unwrap().len(), 1);

        let body = RawValue::from_string(format!("{:?}", "x".repeat(100_000))).unwrap();
        let answer = Answer { status_code: 200, request_id: None, body };
        let pages: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let limit_pages = |store: &Store, most: i64| {
            let pragma = format!("PRAGMA max_page_count = {most}");
            store.connection.query_row(&pragma, [], |row| row.get::<_, i64>(0)).unwrap();
        };
        limit_pages(&store, pages);
        for _ in 0..3 {
            assert!(matches!(store.finish(key, 1, &answer, 3), Err(StoreError::DiskFull)));
            assert_eq!(store.batch(&id).unwrap().request_counts.completed, 0);
        }
        limit_pages(&store, 1 << 20);
        assert_eq!(store.finish(key, 1, &answer, 4).unwrap(), Status::Completed);
        assert_eq!(store.batch(&id).unwrap().request_counts.completed, 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
