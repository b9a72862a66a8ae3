//! The folder of model files, with a record of each verified file.
//!
//! Next to `model.gguf` is `model.gguf.checked.json`: the checksum that was verified, and the file's size and date at
//! that time. While these are unchanged, the file need not be read again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ModelError, Progress, Report};

/// Record of a file whose checksum was verified.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    sha256: String,
    bytes: u64,
    modified_ns: u64,
}

/// Whether the file exists and has the expected content.
///
/// # Errors
///
/// [`ModelError::WrongChecksum`] only with `verify`, which reads the file: without it, a file that does not match its
/// record counts as absent if its content turns out to differ.
pub(super) fn has(path: &Path, sha256: &str, verify: bool, report: Report<'_>) -> Result<bool, ModelError> {
    let Some(current) = mark_of(path, sha256) else { return Ok(false) };
    if !verify && read_mark(path).is_some_and(|mark| mark == current) {
        return Ok(true);
    }
    let actual = sha256_of(path, report)?;
    if actual == sha256 {
        if let Err(error) = remember(path, sha256) {
            // On a read-only disk the file is as good; it is only read again next time.
            tracing::debug!("that {} was checked is not recorded: {error}", path.display());
        }
        return Ok(true);
    }
    if verify {
        return Err(ModelError::WrongChecksum { path: path.to_owned(), expected: sha256.to_owned(), actual });
    }
    Ok(false)
}

/// Returns the file's checksum, if it was verified and the file has not changed since.
pub(crate) fn known_sha256(path: &Path) -> Option<String> {
    let mark = read_mark(path)?;
    (mark_of(path, &mark.sha256)? == mark).then_some(mark.sha256)
}

/// Moves a complete, verified file to its place atomically.
pub fn put(partial: &Path, path: &Path) -> Result<(), ModelError> {
    File::open(partial).and_then(|file| file.sync_all()).map_err(ModelError::io("writing", partial))?;
    fs::rename(partial, path).map_err(ModelError::io("moving a file to", path))
}

/// Records that the file's checksum was verified.
pub(crate) fn remember(path: &Path, sha256: &str) -> Result<(), ModelError> {
    let Some(mark) = mark_of(path, sha256) else { return Ok(()) };
    let text = serde_json::to_string(&mark).expect("a mark is plain data");
    let place = mark_path(path);
    // Renamed into place, so that no reader sees a partial record.
    let partial = with_suffix(&place, &format!(".{}", std::process::id()));
    fs::write(&partial, text).map_err(ModelError::io("writing", &partial))?;
    fs::rename(&partial, &place).map_err(ModelError::io("moving a file to", &place))
}

/// Waits until no other process fetches the same file; the lock is released when the returned file is dropped.
pub fn lock(path: &Path) -> Result<File, ModelError> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let file = File::create(path).map_err(ModelError::io("opening", path))?;
    file.lock().map_err(ModelError::io("locking", path))?;
    Ok(file)
}

/// Creates a folder and its parents.
pub(crate) fn create_folder(folder: &Path) -> Result<(), ModelError> {
    fs::create_dir_all(folder).map_err(ModelError::io("making the folder", folder))
}

/// Removes a file, which need not exist.
pub fn remove(path: &Path) -> Result<(), ModelError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ModelError::io("removing", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Computes a file's checksum by reading all of it.
pub(crate) fn sha256_of(path: &Path, report: Report<'_>) -> Result<String, ModelError> {
    let failed = || ModelError::io("reading", path);
    let mut file = File::open(path).map_err(failed())?;
    let total = file.metadata().map_err(failed())?.len();
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        report(Progress { activity: "checking", file: &title, done, total: Some(total) });
        let count = file.read(&mut piece).map_err(failed())?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&piece[..count]);
        done += count as u64;
    }
}

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends a suffix to a path's file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn mark_path(path: &Path) -> PathBuf {
    with_suffix(path, ".checked.json")
}

fn read_mark(path: &Path) -> Option<Mark> {
    serde_json::from_str(&fs::read_to_string(mark_path(path)).ok()?).ok()
}

/// Returns the record that matches the file as it is now; `None` where there is no file.
fn mark_of(path: &Path, sha256: &str) -> Option<Mark> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let modified = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let modified_ns = u64::try_from(modified.as_nanos()).ok()?;
    Some(Mark { sha256: sha256.to_owned(), bytes: found.len(), modified_ns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::test_server::fresh_folder;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_marked_file_is_not_read_again() {
        let path = fresh_folder("store-mark").join("m.gguf");
        fs::write(&path, "hello").unwrap();
        let reads = std::cell::Cell::new(0);
        let report = |_: Progress<'_>| reads.set(reads.get() + 1);
        assert!(has(&path, HELLO, false, &report).unwrap());
        assert!(reads.get() > 0);
        reads.set(0);
        assert!(has(&path, HELLO, false, &report).unwrap());
        assert_eq!(reads.get(), 0);
        assert!(has(&path, HELLO, true, &report).unwrap());
        assert!(reads.get() > 0);
    }

    #[test]
    fn a_valid_file_is_used_where_nothing_can_be_recorded() {
        let path = fresh_folder("store-read-only").join("m.gguf");
        fs::write(&path, "hello").unwrap();
        // A folder in its place, because a test may run as root, which may write anywhere.
        fs::create_dir(mark_path(&path)).unwrap();
        assert!(has(&path, HELLO, false, &|_| ()).unwrap());
    }

    #[test]
    fn a_changed_file_counts_as_absent_and_fails_verification() {
        let path = fresh_folder("store-changed").join("m.gguf");
        fs::write(&path, "hello").unwrap();
        assert_eq!(known_sha256(&path), None);
        assert!(has(&path, HELLO, false, &|_| ()).unwrap());
        assert_eq!(known_sha256(&path).as_deref(), Some(HELLO));
        fs::write(&path, "hellO!").unwrap();
        assert_eq!(known_sha256(&path), None);
        assert!(!has(&path, HELLO, false, &|_| ()).unwrap());
        assert_eq!(has(&path, HELLO, true, &|_| ()).unwrap_err().code(), "wrong_checksum");
    }

    #[test]
    fn the_second_locker_waits_for_the_first() {
        let path = fresh_folder("store-lock").join("a.lock");
        let held = lock(&path).unwrap();
        let second = File::open(&path).unwrap();
        assert!(second.try_lock().is_err());
        drop(held);
        assert!(second.try_lock().is_ok());
    }
}
