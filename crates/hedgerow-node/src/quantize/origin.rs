//! The origin of a quantized file, written beside it as `FILE.origin.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::models::{self, GgufTensor, ModelError};

pub(super) const FORMAT: &str = "hedgerow-origin/1";

/// The content of `FILE.origin.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub(super) format: String,
    /// The requested precision.
    pub precision: String,
    /// The size of the quantized file.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: String,
    /// The file it was made from.
    pub source: Ancestor,
    /// The quantized file that it descends from, if there is one: the loss there cannot be undone.
    pub no_better_than: Option<Ancestor>,
    /// The importance matrix.
    pub importance: Option<String>,
    /// The tensors that could not be stored in the requested type.
    pub fallbacks: Vec<FellBack>,
    /// The version of the binding that contains llama.cpp.
    pub(crate) llama_cpp: String,
}

/// A file that another was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The file's name without its extension.
    pub name: String,
    /// Its precision, as stated in the file.
    pub precision: String,
    /// Its checksum.
    pub sha256: String,
}

/// A tensor that could not be stored in the requested type, because its rows do not divide into that type's blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FellBack {
    pub tensor: String,
    pub columns: u64,
    pub wanted: String,
    /// The type in the file's own table.
    pub got: String,
}

/// A newly made file.
#[derive(Debug, Serialize)]
pub struct Made {
    /// Path of the new file.
    pub path: PathBuf,
    /// Mean bits per weight over all tensors.
    pub bits_per_weight: f64,
    /// The file's own table of tensors, by type.
    pub tensors: BTreeMap<String, Share>,
    /// `None`, or why the file is not better than its source.
    pub warning: Option<String>,
    /// Its origin, as saved beside it.
    #[serde(flatten)]
    pub origin: Origin,
}

/// The tensors of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    pub count: u64,
    /// The number of their weights.
    pub weights: u64,
    pub bytes: u64,
}

impl Origin {
    /// Reads the origin beside a model; `None` if there is none, or one of a file of another size.
    pub fn beside(model: &Path) -> Option<Self> {
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

    /// Returns the warning for a file whose source was quantized already.
    fn warning(&self) -> Option<String> {
        self.no_better_than.as_ref().map(|ancestor| ancestor.warning(&self.precision))
    }
}

impl Ancestor {
    /// Returns the warning for files that descend from this one.
    pub fn warning(&self, descendants: &str) -> String {
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

/// Returns the fallbacks that llama.cpp reported, with the types in the new file's own table.
pub(super) fn fallbacks(planned: &[hedgerow_llama::Fallback], tensors: &[GgufTensor]) -> Vec<FellBack> {
    let kind = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.kind);
    let fell_back = |one: &hedgerow_llama::Fallback| FellBack {
        tensor: one.tensor.clone(),
        columns: one.columns,
        wanted: one.wanted.clone(),
        got: kind(&one.tensor).unwrap_or(&one.got).clone(),
    };
    planned.iter().map(fell_back).collect()
}

fn place(model: &Path) -> PathBuf {
    models::with_suffix(model, ".origin.json")
}
