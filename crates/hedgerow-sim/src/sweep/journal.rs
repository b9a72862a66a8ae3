//! A journal of finished rows on disk, so that an interrupted sweep can resume.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::SweepError;
use super::file::{Inputs, Sweep};
use super::row::Row;

const FORMAT: &str = "hedgerow-sweep/1";

/// The first line of a journal: the complete input of the sweep, so that another sweep is not mistaken for it.
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

/// A file with a line per finished cell, in the order of completion.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    header: Header,
    done: BTreeMap<usize, Row>,
}

impl Journal {
    /// Opens `sweep.jsonl` in a folder, which is created if missing. A truncated last line is dropped.
    ///
    /// # Errors
    ///
    /// When it belongs to another sweep, another process has it open, or it cannot be read or written.
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
        // The text after the last line end was being written when the process ended.
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

    /// The finished rows, by cell.
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

    /// Rewrites the complete journal sorted by cell, so that it does not depend on the order of completion.
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
