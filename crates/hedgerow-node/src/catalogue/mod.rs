//! Catalogue of the models and precisions on this node: the data for choosing between them.
//!
//! - takes: the model files here, and the saved results of `profile` and `evaluate`
//! - gives: a [`Catalogue`]: memory, speed, load time and quality (`model.md §1`), each with its [`Source`]
//! - never: measures, or reads a file's weights; never takes precedence over its inputs: it can always be regenerated
//!
//! Read [`refresh`] first, then `gather.rs`.

mod facts;
mod figure;
mod gather;
mod published;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hedgerow_core::node::KvType;
use hedgerow_llama::ModelInfo;
use serde::{Deserialize, Serialize};

pub use facts::Facts;
pub use figure::{Figure, Kind, Source};
pub use published::quality_of_llama_3_8b;

use crate::console::Notes;
use crate::host::Machine;
use crate::models::{self, ModelError};
use crate::profile::{self, EngineSetup};
use crate::quality;

/// The format of the file; it changes when older programs must not read it.
const FORMAT: &str = "hedgerow-catalogue/1";

/// All known data of the models on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    format: String,
    /// The machine of the measured figures.
    pub machine: Machine,
    /// Models, sorted by name.
    pub models: Vec<Model>,
    /// Files named like models that are unusable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<Unusable>,
}

/// One model in all its precisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Display name.
    pub name: String,
    /// The reference precision of `β`; `None` if none was measured.
    pub reference: Option<String>,
    /// Its precisions, the one with the most bits first.
    pub precisions: Vec<Entry>,
}

/// One precision of a model: a file, its costs and its quality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Properties of the file that need no measurement.
    #[serde(flatten)]
    pub facts: Facts,
    /// Engine setup in which its times were measured.
    pub setup: Option<EngineSetup>,
    /// Memory of its weights and vocabulary when loaded, without any cache.
    pub resident_bytes: Figure<u64>,
    /// `resident_bytes` divided by the size of the weights in 16 bits, `α` (`model.md §1`).
    pub alpha: Figure,
    /// Time to load the file, in ms; `None` if no profile of it was measured on this machine.
    pub load_ms: Option<Figure<u64>>,
    /// Prefill throughput by chunk size, at an empty context.
    pub prefill: Vec<Throughput>,
    /// Decode throughput by batch size.
    pub decode: Vec<Throughput>,
    /// `f = PPL_ref/PPL_q`, at most 1 (`model.md §1`).
    pub quality_by_perplexity: Option<Figure>,
    /// `f` = share of tokens for which its first choice equals the reference's (`model.md §1`).
    pub quality_by_agreement: Option<Figure>,
    /// Cache size per token, by storage type.
    pub kv_types: Vec<Cache>,
}

/// Speed of steps of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Tokens of a chunk, or requests of a decode step.
    pub count: u32,
    /// Tokens per second of the whole step; `None` if no profile of the file was measured on this machine.
    pub tokens_per_s: Option<Figure>,
    /// Time factor relative to the model's reference, `β` (`model.md §1`).
    pub beta: Option<Figure>,
}

/// A storage type of the cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// Number format of the cached keys and values.
    #[serde(rename = "name")]
    pub kv_type: KvType,
    /// Bytes that one token takes in the KV cache, keys and values of all layers.
    pub bytes_per_token: u64,
}

/// A file named like a model that is unusable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unusable {
    /// Absolute path of the file.
    pub file: PathBuf,
    /// Message of the error that reading the file gave.
    pub why: String,
}

/// Updates the catalogue from the model files and from all measurements, saves it, and returns it.
///
/// Model files are those of the models folder, those already in the catalogue, and `seen`: files elsewhere that a
/// command was given.
///
/// # Errors
///
/// When there is no cache folder, or it cannot be written to.
pub fn refresh(seen: &[&Path]) -> Result<Catalogue, ModelError> {
    refresh_in(&models::cache_folder()?, &Machine::this(), seen)
}

/// Does the same for a command with another purpose: an error is only a warning.
pub fn note(seen: &[&Path], notes: Notes<'_>) {
    if let Err(error) = refresh(seen) {
        notes(&format!("warning: the catalogue is not brought up to date: {error}"));
    }
}

/// Returns the catalogue as it was last saved; `None` if there is none, or none in this program's format.
///
/// # Errors
///
/// When there is no cache folder.
pub fn saved() -> Result<Option<Catalogue>, ModelError> {
    Ok(read(&place(&models::cache_folder()?)))
}

fn refresh_in(cache: &Path, machine: &Machine, seen: &[&Path]) -> Result<Catalogue, ModelError> {
    let place = place(cache);
    // Either of two simultaneous writes would be correct, but one could miss the other's `seen`.
    let _lock = models::lock(&models::with_suffix(&place, ".lock"))?;
    let before = read(&place);
    let known: Vec<&Facts> = before.iter().flat_map(Catalogue::entries).map(|entry| &entry.facts).collect();
    let mut files: BTreeSet<PathBuf> = gguf_files(&cache.join("models"));
    files.extend(known.iter().map(|facts| facts.file.clone()));
    files.extend(seen.iter().filter_map(|path| std::path::absolute(path).ok()));
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    for file in files.into_iter().filter(|file| file.is_file()) {
        match Facts::of(&file, known.iter().find(|facts| facts.file == file).copied()) {
            Ok(facts) => usable.push(facts),
            Err(error) => unusable.push(Unusable { why: error.to_string(), file }),
        }
    }
    // Times are valid only on the machine where they were measured; quality losses are the same on all.
    let mut profiles = profile::ResultStore::new(cache.join("profiles")).all();
    profiles.retain(|profile| profile.subject.machine == *machine);
    let qualities = quality::ResultStore::new(cache.join("quality")).all();
    let models = gather::models(usable, &profiles, &qualities);
    let catalogue = Catalogue { format: FORMAT.to_owned(), machine: machine.clone(), models, unusable };
    if before.as_ref() != Some(&catalogue) {
        write(&place, &catalogue)?;
    }
    Ok(catalogue)
}

impl Catalogue {
    /// Iterates over every precision of every model.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.models.iter().flat_map(|model| &model.precisions)
    }

    /// Finds a model by name, ignoring case, with all its precisions and their files.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name.eq_ignore_ascii_case(name))
    }

    /// Finds the entry of a loaded model, identified by what it retains of its file's header.
    pub fn entry_of(&self, loaded: &ModelInfo) -> Option<&Entry> {
        self.entries().find(|Entry { facts, .. }| {
            facts.bytes == loaded.file.0
                && facts.parameters == loaded.parameters
                && facts.precision == loaded.precision
                && facts.says_name.as_ref().is_none_or(|name| *name == loaded.name)
        })
    }

    /// Finds the entry of a model file.
    pub fn entry(&self, file: &Path) -> Option<&Entry> {
        let file = std::path::absolute(file).ok()?;
        self.entries().find(|entry| entry.facts.file == file)
    }
}

impl Model {
    /// Finds a precision by name, ignoring case.
    pub fn precision(&self, name: &str) -> Option<&Entry> {
        self.precisions.iter().find(|entry| entry.facts.precision.eq_ignore_ascii_case(name))
    }
}

/// Path of the catalogue in a cache folder.
fn place(cache: &Path) -> PathBuf {
    cache.join("catalogue.json")
}

/// Reads the catalogue; an unreadable file counts as absent, because its content can be regenerated.
fn read(place: &Path) -> Option<Catalogue> {
    let text = fs::read_to_string(place).ok()?;
    serde_json::from_str::<Catalogue>(&text).ok().filter(|catalogue| catalogue.format == FORMAT)
}

/// Writes the catalogue atomically.
fn write(place: &Path, catalogue: &Catalogue) -> Result<(), ModelError> {
    let text = serde_json::to_string_pretty(catalogue).expect("a catalogue is plain data") + "\n";
    let partial = models::with_suffix(place, ".partial");
    let written = fs::File::create(&partial).and_then(|mut file| file.write_all(text.as_bytes()));
    let put =
        written.map_err(ModelError::io("writing", &partial)).and_then(|()| models::put(&partial, place));
    if put.is_err() {
        // The file may not exist; the first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    put
}

/// Lists the model files of a folder; empty if the folder does not exist.
fn gguf_files(folder: &Path) -> BTreeSet<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let models = files.filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")));
    models.filter_map(|path| std::path::absolute(path).ok()).collect()
}

#[cfg(test)]
mod tests;
