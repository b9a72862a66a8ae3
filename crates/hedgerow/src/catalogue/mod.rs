//! What this node knows of each model and precision: the numbers that a choice between them rests on.
//!
//! - takes: the model files here, and what `profile` and `evaluate` have saved of them
//! - gives: a [`Catalogue`]: memory, speed, load time and quality (`model.md §1`), each with its [`Source`]
//! - never: measures, or reads a file's weights; and never stands above what it was made from: it can always be
//!   made again
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

pub(crate) use facts::Facts;
pub(crate) use figure::{Figure, Kind, Source};
pub(crate) use published::quality_of_llama_3_8b;

use crate::host::Machine;
use crate::models::{self, ModelError};
use crate::profile::{self, EngineSetup};
use crate::quality;

/// The format of the file; another number means that older programs must not read it.
const FORMAT: &str = "hedgerow-catalogue/1";

/// Everything that is known of the models on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    format: String,
    /// The machine that "measured" is about.
    pub(crate) machine: Machine,
    /// By name.
    pub(crate) models: Vec<Model>,
    /// Files that are called models and cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unusable: Vec<Unusable>,
}

/// One model in all its precisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    /// What to call it.
    pub(crate) name: String,
    /// The precision that `β` is against; `None` if none was measured.
    pub(crate) reference: Option<String>,
    /// The one with the most bits first.
    pub(crate) precisions: Vec<Entry>,
}

/// One precision of a model: a file, what it costs and what it loses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) facts: Facts,
    /// How the engine was set up that its times were measured with.
    pub(crate) setup: Option<EngineSetup>,
    /// Memory that its weights and vocabulary take once loaded, without any cache.
    pub(crate) resident_bytes: Figure<u64>,
    /// That over what the weights take in 16 bits, `α` (`model.md §1`).
    pub(crate) alpha: Figure,
    pub(crate) load_ms: Option<Figure<u64>>,
    /// By tokens of a chunk, with nothing before it.
    pub(crate) prefill: Vec<Throughput>,
    /// By requests that answer at once.
    pub(crate) decode: Vec<Throughput>,
    /// `f = PPL_ref/PPL_q`, at most 1 (`model.md §1`).
    pub(crate) quality_by_perplexity: Option<Figure>,
    /// `f` = share of tokens on which its first choice is the reference's (`model.md §1`).
    pub(crate) quality_by_agreement: Option<Figure>,
    /// What a token takes in the cache, by how that is stored.
    pub(crate) kv_types: Vec<Cache>,
}

/// How fast steps of one size are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Throughput {
    /// Tokens of a chunk, or requests of a decode step.
    pub(crate) count: u32,
    pub(crate) tokens_per_s: Option<Figure>,
    /// The time factor against the model's reference, `β` (`model.md §1`).
    pub(crate) beta: Option<Figure>,
}

/// A way to store the cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cache {
    #[serde(rename = "name")]
    pub(crate) kv_type: KvType,
    pub(crate) bytes_per_token: u64,
}

/// A file that is called a model and cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unusable {
    pub(crate) file: PathBuf,
    pub(crate) why: String,
}

/// Brings the catalogue up to date with the model files and with all that was measured, saves it, and gives it.
///
/// Model files are those of the models folder, those that the catalogue knew before, and `seen`: files elsewhere
/// that a verb was given.
///
/// # Errors
///
/// When there is no cache folder, or it cannot be written to.
pub(crate) fn refresh(seen: &[&Path]) -> Result<Catalogue, ModelError> {
    refresh_in(&models::cache_folder()?, &Machine::this(), seen)
}

/// The same for a verb that has its own work: what goes wrong is said and no more.
pub(crate) fn note(seen: &[&Path]) {
    if let Err(error) = refresh(seen) {
        eprintln!("warning: the catalogue is not brought up to date: {error}");
    }
}

/// The catalogue as it was saved last; `None` if it never was, or not by a program like this.
///
/// # Errors
///
/// When there is no cache folder.
pub(crate) fn saved() -> Result<Option<Catalogue>, ModelError> {
    Ok(read(&place(&models::cache_folder()?)))
}

fn refresh_in(cache: &Path, machine: &Machine, seen: &[&Path]) -> Result<Catalogue, ModelError> {
    let place = place(cache);
    // What two write at once would be true either way, but one of them may not know the other's `seen`.
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
    // Times count only on the machine where they were taken; what a model loses is the same on all.
    let mut profiles = profile::Shelf::new(cache.join("profiles")).all();
    profiles.retain(|profile| profile.subject.machine == *machine);
    let qualities = quality::Shelf::new(cache.join("quality")).all();
    let models = gather::models(usable, &profiles, &qualities);
    let catalogue = Catalogue { format: FORMAT.to_owned(), machine: machine.clone(), models, unusable };
    if before.as_ref() != Some(&catalogue) {
        write(&place, &catalogue)?;
    }
    Ok(catalogue)
}

impl Catalogue {
    /// Every precision of every model.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.models.iter().flat_map(|model| &model.precisions)
    }

    /// The model of that name in any case, with all its precisions and their files.
    pub(crate) fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name.eq_ignore_ascii_case(name))
    }

    /// What is known of a model that is loaded, told by what it still knows of its file.
    pub(crate) fn entry_of(&self, loaded: &ModelInfo) -> Option<&Entry> {
        self.entries().find(|Entry { facts, .. }| {
            facts.bytes == loaded.file.0
                && facts.parameters == loaded.parameters
                && facts.precision == loaded.precision
                && facts.says_name.as_ref().is_none_or(|name| *name == loaded.name)
        })
    }

    /// What is known of a model file.
    pub(crate) fn entry(&self, file: &Path) -> Option<&Entry> {
        let file = std::path::absolute(file).ok()?;
        self.entries().find(|entry| entry.facts.file == file)
    }
}

impl Model {
    /// The precision of that name in any case.
    pub(crate) fn precision(&self, name: &str) -> Option<&Entry> {
        self.precisions.iter().find(|entry| entry.facts.precision.eq_ignore_ascii_case(name))
    }
}

/// Where the catalogue lies in a cache folder.
fn place(cache: &Path) -> PathBuf {
    cache.join("catalogue.json")
}

/// A file that cannot be read is as good as none: all that it says can be found out again.
fn read(place: &Path) -> Option<Catalogue> {
    let text = fs::read_to_string(place).ok()?;
    serde_json::from_str::<Catalogue>(&text).ok().filter(|catalogue| catalogue.format == FORMAT)
}

/// Whole or not at all.
fn write(place: &Path, catalogue: &Catalogue) -> Result<(), ModelError> {
    let text = serde_json::to_string_pretty(catalogue).expect("a catalogue is plain data") + "\n";
    let partial = models::with_suffix(place, ".partial");
    let written = fs::File::create(&partial).and_then(|mut file| file.write_all(text.as_bytes()));
    let put =
        written.map_err(ModelError::io("writing", &partial)).and_then(|()| models::put(&partial, place));
    if put.is_err() {
        // It may not even exist; the first error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    put
}

/// The model files of a folder; none where there is no folder.
fn gguf_files(folder: &Path) -> BTreeSet<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let models = files.filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")));
    models.filter_map(|path| std::path::absolute(path).ok()).collect()
}

#[cfg(test)]
mod tests;
