//! Stores verdicts on disk: one file for each subject, in `kernels` of the cache folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::subject::Subject;
use super::verdict::{FORMAT, Verdict};
use crate::files::write_whole;

/// The folder of saved verdicts.
#[derive(Clone, Debug)]
pub(super) struct ResultStore {
    folder: PathBuf,
}

impl ResultStore {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the saved verdict on a subject. An unusable file counts as none, with a warning in the log, because
    /// checking again costs only seconds.
    pub(super) fn find(&self, subject: &Subject) -> Option<Verdict> {
        let path = self.folder.join(subject.file_name());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read.map_err(|error| error.to_string()),
        };
        let verdict = text.and_then(|text| {
            let verdict: Verdict = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if verdict.format != FORMAT || verdict.subject != *subject {
                return Err("it is of another format, machine, build or model".to_owned());
            }
            Ok(verdict)
        });
        verdict.inspect_err(|why| warn(&path, why)).ok()
    }

    /// Saves a verdict atomically.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or written to.
    pub(super) fn save(&self, verdict: &Verdict) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let text = serde_json::to_string_pretty(verdict).expect("a verdict is plain data") + "\n";
        write_whole(&self.folder.join(verdict.subject.file_name()), &text)
    }
}

fn warn(path: &Path, why: &str) {
    tracing::warn!("the saved check of the kernels {} is not used: {why}", path.display());
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::verdict;
    use super::*;

    #[test]
    fn what_is_saved_is_found_again_and_what_is_damaged_or_of_another_is_not() {
        let folder = std::env::temp_dir().join(format!("hedgerow-kernels-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let store = ResultStore::new(folder.join("kernels"));
        let verdict = verdict();
        assert!(store.find(&verdict.subject).is_none());
        store.save(&verdict).unwrap();
        assert_eq!(store.find(&verdict.subject).as_ref(), Some(&verdict));
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 1);
        let path = store.folder.join(verdict.subject.file_name());
        let whole = fs::read_to_string(&path).unwrap();
        for content in [&whole[..whole.len() / 2], "", &whole.replace("Test CPU", "Other CPU")] {
            fs::write(&path, content).unwrap();
            assert!(store.find(&verdict.subject).is_none(), "{content}");
        }
        fs::remove_dir_all(&folder).unwrap();
        // A folder that cannot be created, as in a read-only cache.
        fs::write(&folder, "").unwrap();
        assert!(store.save(&verdict).is_err() && store.find(&verdict.subject).is_none());
        fs::remove_file(folder).unwrap();
    }
}
