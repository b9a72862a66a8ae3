//! Stores profiles on disk: one file for each subject, in `profiles` of the cache folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hedgerow_core::engine::cost::MeasuredCost;
use serde::{Deserialize, Serialize};

use super::{Disturbance, Subject};
use crate::files::write_whole;
use crate::loading::Memory;

/// The format of the files; it changes when older programs must not read them.
const FORMAT: &str = hedgerow_core::engine::cost::PROFILE_FORMAT;

/// A measurement, its subject and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    format: String,
    /// The machine, model file and engine setup that the times are valid for.
    #[serde(flatten)]
    pub subject: Subject,
    /// End of the measurement, in seconds since 1970.
    pub measured_unix_s: u64,
    /// Duration of the measurement.
    pub took_ms: u64,
    /// Time to load the model; after the first time its file is often in the page cache already.
    pub load_ms: u64,
    /// Memory of the process before loading, after it, and after the measurement.
    pub memory: Memory,
    /// What disturbed the measurement, so that it has to be repeated. Absent in files from before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<Disturbance>,
    /// The measured step times.
    pub cost: MeasuredCost,
}

/// Facts about a measurement run other than its step times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Circumstances {
    pub measured_unix_s: u64,
    pub took_ms: u64,
    pub load_ms: u64,
    pub memory: Memory,
    pub disturbed: Option<Disturbance>,
}

impl Profile {
    pub(super) fn new(subject: Subject, cost: MeasuredCost, circumstances: Circumstances) -> Self {
        let Circumstances { measured_unix_s, took_ms, load_ms, memory, disturbed } = circumstances;
        Self {
            format: FORMAT.to_owned(),
            subject,
            measured_unix_s,
            took_ms,
            load_ms,
            memory,
            disturbed,
            cost,
        }
    }

    /// Serializes the profile as the file's content.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a profile is plain data") + "\n"
    }
}

/// The folder of saved profiles.
#[derive(Clone, Debug)]
pub struct ResultStore {
    folder: PathBuf,
}

/// Why a saved profile is unusable.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("its format is `{found}`, not `{FORMAT}`")]
    Format { found: String },
    #[error("it is of another machine, model or setup")]
    Other,
}

impl ResultStore {
    /// Makes a store of a folder; [`ResultStore::save`] creates the folder if it is missing.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Path of a subject's profile, whether or not it exists.
    pub fn path(&self, subject: &Subject) -> PathBuf {
        self.folder.join(subject.file_name())
    }

    /// Returns the saved profile of a subject; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When the file exists but is unusable.
    pub fn find(&self, subject: &Subject) -> Result<Option<Profile>, Unusable> {
        let text = match fs::read_to_string(self.path(subject)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let content: serde_json::Value = serde_json::from_str(&text)?;
        let found = content["format"].as_str().unwrap_or_default();
        if found != FORMAT {
            return Err(Unusable::Format { found: found.to_owned() });
        }
        let profile: Profile = serde_json::from_value(content)?;
        if profile.subject != *subject {
            return Err(Unusable::Other);
        }
        Ok(Some(profile))
    }

    /// Returns all usable saved profiles.
    pub fn all(&self) -> Vec<Profile> {
        // A missing folder means that nothing was measured yet.
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let profile =
            |path: &Path| -> Option<Profile> { serde_json::from_str(&fs::read_to_string(path).ok()?).ok() };
        files.filter_map(|file| profile(&file.path())).filter(|profile| profile.format == FORMAT).collect()
    }

    /// Saves a profile atomically.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or written to.
    pub fn save(&self, profile: &Profile) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        write_whole(&self.path(&profile.subject), &profile.to_json())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use hedgerow_core::engine::cost::{Line, Surface};

    use super::super::subject::tests::subject;
    use super::*;
    use crate::host::Noise;
    use crate::loading::Memory;

    pub(in crate::profile) fn profile() -> Profile {
        let lines = vec![Line { count: 1, times_ns: vec![(128, 6_000_000), (384, 7_000_000)] }];
        let surface = Surface::new(lines).unwrap();
        let cost = MeasuredCost { prefill: surface.clone(), decode: surface, mixed_ns: 100_000 };
        let memory = Memory { before_load: None, loaded: Some(120_000_000), measured: Some(300_000_000) };
        let circumstances = Circumstances {
            measured_unix_s: 1_700_000_000,
            took_ms: 9_876,
            load_ms: 120,
            memory,
            disturbed: None,
        };
        Profile::new(subject(), cost, circumstances)
    }

    /// Makes an empty store for one test.
    pub(in crate::profile) fn store(name: &str) -> ResultStore {
        let folder = std::env::temp_dir().join(format!("hedgerow-profiles-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        ResultStore::new(folder.join("profiles"))
    }

    #[test]
    fn what_is_saved_is_found_again_and_nothing_else_is_left() {
        let store = store("round");
        assert!(store.find(&subject()).unwrap().is_none());
        store.save(&profile()).unwrap();
        assert_eq!(store.find(&subject()).unwrap(), Some(profile()));
        assert_eq!(store.all(), [profile()]);
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(store.path(&subject())).unwrap(), profile().to_json());
    }

    #[test]
    fn a_file_says_what_disturbed_its_measurement_and_older_ones_say_nothing() {
        let store = store("disturbed");
        let noise = Noise { others_percent: Some(48), waiting_percent: Some(31), ..Noise::default() };
        let disturbed = Profile { disturbed: Disturbance::of(noise, 60), ..profile() };
        store.save(&disturbed).unwrap();
        assert_eq!(store.find(&subject()).unwrap(), Some(disturbed));
        assert!(!profile().to_json().contains("disturbed"), "as it always was");
    }

    #[test]
    fn another_setup_finds_nothing() {
        let store = store("other");
        store.save(&profile()).unwrap();
        let mut other = subject();
        other.engine.parallel = 8;
        assert!(store.find(&other).unwrap().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_from_none() {
        let store = store("unusable");
        store.save(&profile()).unwrap();
        let path = store.path(&subject());
        let whole = profile().to_json();
        let why = |content: &str| {
            fs::write(&path, content).unwrap();
            store.find(&subject()).unwrap_err().to_string()
        };
        assert!(why(&whole[..whole.len() / 2]).starts_with("it is damaged: "));
        assert_eq!(store.all(), []);
        assert!(why("").starts_with("it is damaged: "));
        assert!(why(&whole.replace("profile/1", "profile/0")).contains("`hedgerow-profile/0`"));
        assert_eq!(store.all(), []);
        assert!(why("[]").contains("its format is ``"));
        assert!(why(&whole.replace("Test CPU", "Other CPU")).contains("another machine"));
        // A surface that cannot result from a measurement.
        assert!(why(&whole.replace("\"count\": 1", "\"count\": 0")).contains("counts must grow"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(store.find(&subject()).unwrap_err().to_string().starts_with("it cannot be read: "));
    }
}
