//! Reads the properties of a model file that need no measurement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::models::{self, ModelError};
use crate::quantize::Origin;

/// Properties of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Path of the file.
    pub file: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Modification time in nanoseconds since 1970: while it and the size are unchanged, the other properties are
    /// valid.
    pub(super) modified_ns: u64,
    /// Key in profiles and evaluations: `models::fingerprint`.
    pub fingerprint: String,
    /// Its checksum, if it was ever compared with the expected one.
    pub sha256: Option<String>,
    /// Storage type of most of its tensors.
    pub precision: String,
    /// Model name in the file: the same in all precisions, and in many finetunes.
    pub(crate) says_name: Option<String>,
    /// Architecture, such as `llama`; `None` if the file does not name it.
    pub architecture: Option<String>,
    /// Number of parameters in all tensors.
    pub parameters: u64,
    /// Bytes of all tensors in the file.
    pub weights_bytes: u64,
    /// Number of tensors of each type.
    pub tensor_types: BTreeMap<String, u64>,
    /// Values in the KV cache per token, keys and values of all layers.
    pub cache_numbers: Option<u64>,
    /// The quantized file that it was made from, which bounds its quality from above.
    pub no_better_than: Option<String>,
}

impl Facts {
    /// Reads the file's header and table of tensors, or reuses `known` if it is still valid for the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not a complete GGUF file.
    pub(super) fn of(path: &Path, known: Option<&Facts>) -> Result<Self, ModelError> {
        let failed = || ModelError::io("reading", path);
        let about = std::fs::metadata(path).map_err(failed())?;
        let modified = about.modified().map_err(failed())?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
        let sha256 = models::known_sha256(path);
        let no_better_than =
            Origin::beside(path).and_then(|origin| origin.no_better_than).map(|made_from| made_from.name);
        if let Some(known) =
            known.filter(|known| (known.bytes, known.modified_ns) == (about.len(), modified_ns))
        {
            return Ok(Self { sha256, no_better_than, ..known.clone() });
        }
        let summary = models::validate_gguf(path)?;
        let tensors = models::read_tensors(path)?;
        Ok(Self {
            file: path.to_owned(),
            bytes: about.len(),
            modified_ns,
            fingerprint: models::fingerprint(path).map_err(failed())?,
            sha256,
            precision: summary.quantization.unwrap_or_else(|| "unknown".to_owned()),
            says_name: summary.name,
            architecture: summary.architecture,
            parameters: tensors.iter().map(|tensor| tensor.lengths.iter().product::<u64>()).sum(),
            weights_bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
            tensor_types: summary.tensor_types,
            cache_numbers: summary.cache_numbers,
            no_better_than,
        })
    }

    /// Returns the model's name for users: the built-in name, or the file's name without extension and precision.
    pub(super) fn model_name(&self) -> String {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let is_precision =
            |end: &str| end.eq_ignore_ascii_case("fp16") || end.eq_ignore_ascii_case(&self.precision);
        let start = stem.rsplit_once(['.', '-']).filter(|(_, end)| is_precision(end)).map(|(start, _)| start);
        let name = start.unwrap_or(&stem);
        let built_in = models::BUILTIN_MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name));
        built_in.map_or(name, |model| model.name).to_owned()
    }

    /// Returns the size of its weights in 16 bits: `α = 1` (`model.md §1`).
    pub(super) fn weights_16_bit(&self) -> f64 {
        2.0 * self.parameters as f64
    }

    /// Returns the mean bits per parameter over all tensors in the file.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.weights_bytes as f64 / (self.parameters as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Gguf, fresh_cache, made_from};
    use super::*;

    #[test]
    fn a_file_is_named_after_its_model_and_counted_by_its_tensors() {
        let cache = fresh_cache("facts");
        let path = cache.join("models/Tiny-1B.Q4_1.gguf");
        Gguf::default().write(&path);
        let facts = Facts::of(&path, None).unwrap();
        assert_eq!((facts.model_name().as_str(), facts.precision.as_str()), ("Tiny-1B", "Q4_1"));
        // 64 numbers of Q4_1 in two blocks of 20 bytes, and 8 of F32.
        assert_eq!((facts.parameters, facts.weights_bytes), (72, 72));
        assert_eq!(facts.cache_numbers, Some(3 * 2 * (32 + 32)), "layers, key/value heads, their widths");
        assert_eq!((facts.sha256.as_ref(), facts.no_better_than.as_ref()), (None, None));
    }

    #[test]
    fn a_built_in_model_keeps_its_name_in_every_precision() {
        let cache = fresh_cache("facts-builtin");
        for name in ["SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct-q4_1.gguf"] {
            let path = cache.join("models").join(name);
            Gguf::default().write(&path);
            assert_eq!(Facts::of(&path, None).unwrap().model_name(), "smollm2-135m-instruct");
        }
    }

    #[test]
    fn a_file_that_did_not_change_is_not_read_again_and_one_that_did_is() {
        let cache = fresh_cache("facts-known");
        let path = cache.join("models/Tiny.Q4_1.gguf");
        Gguf::default().write(&path);
        let known = Facts { parameters: 1, ..Facts::of(&path, None).unwrap() };
        assert_eq!(Facts::of(&path, Some(&known)).unwrap().parameters, 1);
        Gguf { numbers: 128, ..Gguf::default() }.write(&path);
        assert_eq!(Facts::of(&path, Some(&known)).unwrap().parameters, 136);
    }

    #[test]
    fn half_a_file_is_refused() {
        let cache = fresh_cache("facts-half");
        let path = cache.join("models/Tiny.Q4_1.gguf");
        let whole = Gguf::default().write(&path);
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(Facts::of(&path, None).unwrap_err().code(), "truncated_model");
    }

    #[test]
    fn what_a_file_was_made_from_is_read_beside_it() {
        let cache = fresh_cache("facts-origin");
        let path = cache.join("models/Tiny.F16.gguf");
        Gguf::default().write(&path);
        made_from("Tiny.Q4_1", &path);
        assert_eq!(Facts::of(&path, None).unwrap().no_better_than.as_deref(), Some("Tiny.Q4_1"));
    }
}
