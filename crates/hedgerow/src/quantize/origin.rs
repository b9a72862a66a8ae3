//! What a quantized file was made from: written beside it as `FILE.origin.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::models::{self, GgufTensor, ModelError};

pub(super) const FORMAT: &str = "hedgerow-origin/1";

/// The content of the file beside a quantized model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(super) format: String,
    /// The precision that was asked for.
    pub(crate) precision: String,
    /// The size of the file that this is about.
    pub(crate) bytes: u64,
    /// Its checksum.
    pub(crate) sha256: String,
    /// What it was made from.
    pub(crate) source: Ancestor,
    /// The quantized file that it descends from, if there is one: what was lost there stays lost.
    pub(crate) no_better_than: Option<Ancestor>,
    /// The importance matrix.
    pub(crate) importance: Option<String>,
    /// The tensors that could not be stored as asked.
    pub(crate) fallbacks: Vec<FellBack>,
    /// The version of the binding that llama.cpp comes with.
    pub(crate) llama_cpp: String,
}

/// A file that another was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ancestor {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// Its precision, in the file's own words.
    pub(crate) precision: String,
    /// Its checksum.
    pub(crate) sha256: String,
}

/// A tensor that could not be stored as asked, because its rows cannot be cut into that type's blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FellBack {
    pub(crate) tensor: String,
    pub(crate) columns: u64,
    pub(crate) wanted: String,
    /// As the file's own table has it.
    pub(crate) got: String,
}

/// A file that was just made.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    /// Bits of a weight, on average over all tensors.
    pub(crate) bits_per_weight: f64,
    /// The file's own table of tensors, by type.
    pub(crate) tensors: BTreeMap<String, Share>,
    /// `None`, or why the file is not better than its source.
    pub(crate) warning: Option<String>,
    #[serde(flatten)]
    pub(crate) origin: Origin,
}

/// The tensors of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Share {
    pub(crate) count: u64,
    /// How many weights they hold.
    pub(crate) weights: u64,
    pub(crate) bytes: u64,
}

impl Origin {
    /// What lies beside a model; `None` if nothing does, or something about a file of another size.
    pub(crate) fn beside(model: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(place(model)).ok()?;
        let bytes = std::fs::metadata(model).ok()?.len();
        let is_of_it = |origin: &Self| origin.format == FORMAT && origin.bytes == bytes;
        serde_json::from_str(&text).ok().filter(is_of_it)
    }

    pub(super) fn save(&self, model: &Path) -> Result<(), ModelError> {
        let text = serde_json::to_string_pretty(self).expect("an origin is plain data") + "\n";
        let place = place(model);
        let partial = models::with_suffix(&place, ".partial");
        std::fs::write(&partial, text).map_err(ModelError::io("writing", &partial))?;
        models::put(&partial, &place)
    }

    /// The sentence that goes with a file whose weights were quantized before.
    fn warning(&self) -> Option<String> {
        self.no_better_than.as_ref().map(|ancestor| ancestor.warning(&self.precision))
    }
}

impl Ancestor {
    /// What is to be said of files that descend from this one.
    pub(crate) fn warning(&self, descendants: &str) -> String {
        format!(
            "no better than {}, which is {}, though made from it: {descendants}; what was lost there stays lost",
            self.name, self.precision
        )
    }
}

impl Made {
    pub(super) fn new(path: PathBuf, origin: Origin, tensors: &[GgufTensor]) -> Self {
        let mut shares: BTreeMap<String, Share> = BTreeMap::new();
        for tensor in tensors {
            let share = shares.entry(tensor.kind.clone()).or_default();
            share.count += 1;
            share.weights += tensor.lengths.iter().product::<u64>();
            share.bytes += tensor.bytes;
        }
        let sum = |of: fn(&Share) -> u64| shares.values().map(of).sum::<u64>() as f64;
        Self {
            bits_per_weight: 8.0 * sum(|share| share.bytes) / sum(|share| share.weights).max(1.0),
            warning: origin.warning(),
            tensors: shares,
            path,
            origin,
        }
    }
}

/// What llama.cpp said of tensors, with the types that the new file's own table has.
pub(super) fn fallbacks(said: &[hedgerow_llama::Fallback], tensors: &[GgufTensor]) -> Vec<FellBack> {
    let kind = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.kind);
    let fell_back = |said: &hedgerow_llama::Fallback| FellBack {
        tensor: said.tensor.clone(),
        columns: said.columns,
        wanted: said.wanted.clone(),
        got: kind(&said.tensor).unwrap_or(&said.got).clone(),
    };
    said.iter().map(fell_back).collect()
}

fn place(model: &Path) -> PathBuf {
    models::with_suffix(model, ".origin.json")
}
