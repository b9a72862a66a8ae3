//! Atomic file writes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file atomically: under a temporary name, renamed when the content is complete and on the disk.
///
/// # Errors
///
/// When the folder is missing or not writable; no partial file remains.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    // The process id makes the name unique, because several processes may write the same file at once.
    let unfinished = path.with_added_extension(std::process::id().to_string());
    let written = write_through(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // The file may not exist; the first error is the one to report.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
