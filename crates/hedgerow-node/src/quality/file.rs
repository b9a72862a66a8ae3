//! Saved comparisons: one file for each, in `quality` of the cache folder.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Measured, Subject};
use crate::files::write_whole;
use crate::models::{self, ModelError};

/// The format of the files; older programs must not read a file with another number.
const FORMAT: &str = "hedgerow-quality/1";

/// The quality loss of one model against a reference, and what it was measured on.
///
/// Both definitions of quality of `model.md §1` are here: [`Measured::ppl_ratio`] and [`Measured::same_top`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    format: String,
    /// The two models, the text and its windows, and the versions of the program and of llama.cpp.
    #[serde(flatten)]
    pub subject: Subject,
    /// The number of scored tokens.
    pub counted: u64,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
}

impl Quality {
    /// Builds a comparison from its measurements; `counted` is the number of scored tokens.
    pub fn new(subject: Subject, counted: u64, measured: Measured) -> Self {
        Self { format: FORMAT.to_owned(), subject, counted, measured }
    }
}

/// Returns all saved comparisons of the model file with this fingerprint (`models::fingerprint`), the latest first,
/// against any reference and on any text. Unreadable files are skipped with a warning in the log.
///
/// # Errors
///
/// When there is no cache folder.
pub fn saved(fingerprint: &str) -> Result<Vec<Quality>, ModelError> {
    Ok(ResultStore::new(models::cache_folder()?.join("quality")).of_model(fingerprint))
}

/// The folder of saved comparisons.
#[derive(Clone, Debug)]
pub struct ResultStore {
    folder: PathBuf,
}

impl ResultStore {
    /// Makes a store of a folder; [`ResultStore::save`] creates the folder if it is missing.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the path of a comparison, saved or not.
    pub fn path(&self, subject: &Subject) -> PathBuf {
        self.folder.join(subject.file_name())
    }

    /// Returns the same comparison by the same version of the program, if it was saved.
    pub fn find(&self, subject: &Subject) -> Option<Quality> {
        self.read(&self.path(subject)).filter(|quality| quality.subject == *subject)
    }

    /// Returns every usable saved comparison.
    pub fn all(&self) -> Vec<Quality> {
        // Without a folder, nothing was saved yet.
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|file| file.path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        files.filter_map(|path| self.read(&path)).collect()
    }

    fn of_model(&self, fingerprint: &str) -> Vec<Quality> {
        let mut found = self.all();
        found.retain(|quality| quality.subject.model.fingerprint == fingerprint);
        found.sort_by_key(|quality| std::cmp::Reverse(quality.measured.measured_unix_s));
        found
    }

    fn read(&self, path: &std::path::Path) -> Option<Quality> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read.map_err(|error| error.to_string()),
        };
        let quality = text.and_then(|text| {
            let quality: Quality = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if quality.format == FORMAT {
                Ok(quality)
            } else {
                Err(format!("its format is `{}`", quality.format))
            }
        });
        quality
            .inspect_err(|why| tracing::warn!("the saved quality {} is not used: {why}", path.display()))
            .ok()
    }

    /// Saves a comparison atomically.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or written to.
    pub fn save(&self, quality: &Quality) -> Result<(), ModelError> {
        models::create_folder(&self.folder)?;
        let path = self.path(&quality.subject);
        let text = serde_json::to_string_pretty(quality).expect("a quality is plain data") + "\n";
        write_whole(&path, &text).map_err(ModelError::io("writing", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Estimate, TextFile};
    use super::*;
    use crate::profile::ModelFile;

    fn quality(fingerprint: &str, chunks: u32, at: u64) -> Quality {
        let file = |fingerprint: &str| ModelFile {
            name: "a model/of mine".into(),
            precision: "Q4_1".into(),
            file_bytes: 1,
            fingerprint: fingerprint.into(),
        };
        let subject = Subject {
            model: file(fingerprint),
            reference: file("reference"),
            text: TextFile { name: "text".into(), sha256: "00".into(), tokens: 1000 },
            ctx: 512,
            chunks,
            bos: false,
            engine: "hedgerow 0".into(),
            llama_cpp: "binding 0".into(),
        };
        let one = Estimate { value: 1.0, low: 0.5, high: 1.5 };
        let (ppl, kl_mean) = (one, one);
        let measured = Measured {
            ppl,
            ppl_reference: ppl,
            ppl_delta: one,
            ppl_ratio: one,
            kl_mean,
            same_top: one,
            took_ms: 1,
            measured_unix_s: at,
        };
        Quality::new(subject, 255 * u64::from(chunks), measured)
    }

    #[test]
    fn saved_comparisons_of_a_model_are_found_by_fingerprint_the_latest_first() {
        let folder = std::env::temp_dir().join(format!("hedgerow-quality-{}", std::process::id()));
        let store = ResultStore::new(folder.clone());
        assert_eq!(store.of_model("a"), []);
        let saved = [quality("a", 2, 100), quality("a", 4, 200), quality("b", 2, 300)];
        saved.iter().for_each(|quality| store.save(quality).unwrap());
        fs::write(folder.join("damaged.json"), "{").unwrap();
        assert_eq!(store.of_model("a"), [saved[1].clone(), saved[0].clone()]);
        assert_eq!(store.find(&saved[2].subject).as_ref(), Some(&saved[2]));
        let mut newer = saved[2].subject.clone();
        newer.engine = "hedgerow 1".into();
        assert_eq!(store.find(&newer), None, "another version may measure something else");
        assert_eq!(store.path(&newer), store.path(&saved[2].subject), "and replaces it");
        fs::remove_dir_all(folder).unwrap();
    }
}
