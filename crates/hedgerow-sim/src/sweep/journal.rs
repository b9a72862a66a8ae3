//! Rows on disk as they come, so that a sweep can be killed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::SweepError;
use super::file::{Inputs, Sweep};
use super::row::Row;

const FORMAT: &str = "hedgerow-sweep/1";

/// What a journal begins with: of which sweep it is, in full, so that nothing else is taken for it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: String,
    hedgerow: String,
    inputs: Inputs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    cell: usize,
    row: Row,
}

/// A file with a line for each cell that is done, in the order in which they were.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    header: Header,
    done: BTreeMap<usize, Row>,
}

impl Journal {
    /// Opens `sweep.jsonl` in a folder, which is made if need be. A last line that was cut off is dropped.
    ///
    /// # Errors
    ///
    /// When it is of another sweep, another process has it, or it cannot be read or written.
    pub fn open(folder: &Path, sweep: &Sweep) -> Result<Self, SweepError> {
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            |source| SweepError::Unwritable { path, source }
        };
        std::fs::create_dir_all(folder).map_err(unwritable(folder))?;
        let path = folder.join("sweep.jsonl");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(&path).map_err(unwritable(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SweepError::Busy { path }),
            Err(TryLockError::Error(source)) => return Err(SweepError::Unwritable { path, source }),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|source| SweepError::Unreadable { path: path.clone(), source })?;
        // What follows the last end of a line was being written when the process ended.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let header = Header {
            format: FORMAT.to_owned(),
            hedgerow: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: sweep.inputs().clone(),
        };
        let done = read(&path, &text[..whole], &header)?;
        let mut journal = Self { path, file, header, done };
        journal.cut_at(whole as u64).map_err(unwritable(&journal.path))?;
        if whole == 0 {
            let line = line(&journal.header);
            journal.file.write_all(line.as_bytes()).map_err(unwritable(&journal.path))?;
        }
        Ok(journal)
    }

    /// The rows that are done.
    pub fn done(&self) -> &BTreeMap<usize, Row> {
        &self.done
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn add(&mut self, cell: usize, row: &Row) -> Result<(), SweepError> {
        let line = line(&Entry { cell, row: row.clone() });
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| SweepError::Unwritable { path: self.path.clone(), source })?;
        self.done.insert(cell, row.clone());
        Ok(())
    }

    /// Sorts the lines by cell, now that all are there: the file no longer tells in which order they came.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(self) -> Result<(), SweepError> {
        let mut text = line(&self.header);
        for (&cell, row) in &self.done {
            text.push_str(&line(&Entry { cell, row: row.clone() }));
        }
        super::write::whole(&self.path, text.as_bytes())
    }

    fn cut_at(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        Ok(())
    }
}

fn read(path: &Path, text: &str, expected: &Header) -> Result<BTreeMap<usize, Row>, SweepError> {
    let mut lines = text.lines();
    let Some(first) = lines.next() else { return Ok(BTreeMap::new()) };
    if serde_json::from_str::<Header>(first).ok().as_ref() != Some(expected) {
        return Err(SweepError::OtherSweep { path: path.to_owned() });
    }
    lines
        .enumerate()
        .map(|(index, line)| {
            let entry: Entry = serde_json::from_str(line)
                .map_err(|_| SweepError::Damaged { path: path.to_owned(), line: index + 2 })?;
            Ok((entry.cell, entry.row))
        })
        .collect()
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data") + "\n"
}
