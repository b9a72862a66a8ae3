//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file under another name and renames it when it is complete and on the disk.
///
/// # Errors
///
/// When its folder is missing or cannot be written to; then nothing of it is left.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    // Of this process alone, because several may write the same file at once.
    let unfinished = path.with_added_extension(std::process::id().to_string());
    let written = write_through(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // It may not even exist; the first error is the one to tell.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
