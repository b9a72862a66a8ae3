//! Importance matrices: the weight of each column of a tensor, as llama.cpp's `llama-imatrix` writes them.
//!
//! The file is GGUF: for each tensor `NAME` a tensor `NAME.in_sum2`, the sum of its inputs' squares by column
//! and matrix, and `NAME.counts`, the number of inputs of each matrix.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::QuantizeError;
use crate::models::{self, GgufTensor};

/// An importance matrix that fits the model.
#[derive(Debug)]
pub struct Importance {
    /// Its file.
    pub path: PathBuf,
    /// By the tensor's name: the mean square of each column's inputs.
    pub entries: Vec<(String, Vec<f32>)>,
}

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl Importance {
    /// Reads a matrix and checks it against the model's tensors.
    ///
    /// # Errors
    ///
    /// When the file is no importance matrix, or is one of another model.
    pub(super) fn read(path: &Path, model: &[GgufTensor]) -> Result<Self, QuantizeError> {
        let none = |reason: String| QuantizeError::NoImportance { path: path.to_owned(), reason };
        let table = models::read_tensors(path).map_err(|error| none(error.to_string()))?;
        let by_name: BTreeMap<&str, &GgufTensor> =
            table.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut file = File::open(path).map_err(|error| none(error.to_string()))?;
        let mut entries = Vec::new();
        for sums in &table {
            let Some(name) = sums.name.strip_suffix(SUMS) else { continue };
            let counts = by_name.get(format!("{name}{COUNTS}").as_str());
            let counts = *counts.ok_or_else(|| none(format!("{name} has sums but no counts")))?;
            let means = means(&numbers(&mut file, sums), &numbers(&mut file, counts));
            entries.push((name.to_owned(), means.ok_or_else(|| none(format!("{name} cannot be read")))?));
        }
        if entries.is_empty() {
            return Err(none(format!("it has no tensor whose name ends in {SUMS}")));
        }
        fits(&entries, model)
            .map_err(|reason| QuantizeError::OtherModel { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), entries })
    }
}

/// Reads a tensor's numbers; empty if the tensor is invalid.
fn numbers(file: &mut File, tensor: &GgufTensor) -> Vec<f32> {
    let mut bytes = Vec::new();
    let is_read = tensor.kind == "F32"
        && file.seek(SeekFrom::Start(tensor.at)).is_ok()
        && file.take(tensor.bytes).read_to_end(&mut bytes).is_ok();
    if !is_read {
        return Vec::new();
    }
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

/// Divides sums by counts; a matrix without inputs gives all its columns the same weight, as in llama.cpp.
fn means(sums: &[f32], counts: &[f32]) -> Option<Vec<f32>> {
    let columns = sums.len().checked_div(counts.len()).filter(|&columns| columns > 0)?;
    let is_whole = columns * counts.len() == sums.len();
    let mean = |(matrix, count): (&[f32], f32)| -> Vec<f32> {
        matrix.iter().map(|sum| if count > 0.0 { sum / count } else { 1.0 }).collect()
    };
    let means: Vec<f32> = sums.chunks(columns).zip(counts.iter().copied()).flat_map(mean).collect();
    (is_whole && means.iter().all(|mean| mean.is_finite())).then_some(means)
}

/// Checks that a matrix belongs to the model; the error is the first mismatch.
fn fits(entries: &[(String, Vec<f32>)], model: &[GgufTensor]) -> Result<(), String> {
    let by_name: BTreeMap<&str, &GgufTensor> =
        model.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut known = 0;
    for (name, means) in entries {
        let Some(tensor) = by_name.get(name.as_str()) else { continue };
        let length = |index: usize| tensor.lengths.get(index).copied().unwrap_or(1);
        let needed = length(0) * length(2);
        if means.len() as u64 != needed {
            return Err(format!("{name} has {needed} columns, and {} in the matrix", means.len()));
        }
        known += 1;
    }
    // Some unknown tensors are harmless, such as an output matrix that the model shares with its embedding.
    if 2 * known < entries.len() {
        return Err(format!("the model has only {known} of its {} tensors", entries.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, lengths: &[u64]) -> GgufTensor {
        GgufTensor { name: name.into(), kind: "F16".into(), lengths: lengths.into(), bytes: 0, at: 0 }
    }

    #[test]
    fn a_weight_is_the_mean_over_the_inputs_of_its_matrix() {
        assert_eq!(means(&[2.0, 4.0, 9.0, 9.0], &[2.0, 0.0]), Some(vec![1.0, 2.0, 1.0, 1.0]));
        assert_eq!(means(&[2.0, 4.0, 9.0], &[2.0, 1.0]), None);
        assert_eq!(means(&[2.0], &[]), None);
        assert_eq!(means(&[f32::NAN], &[1.0]), None);
    }

    #[test]
    fn a_matrix_of_another_model_is_recognized_by_names_or_sizes() {
        let model = [tensor("a.weight", &[2, 8]), tensor("experts.weight", &[2, 8, 3])];
        let entry = |name: &str, count: usize| (name.to_owned(), vec![1.0; count]);
        assert_eq!(fits(&[entry("a.weight", 2), entry("experts.weight", 6), entry("b", 1)], &model), Ok(()));
        assert_eq!(
            fits(&[entry("a.weight", 4)], &model).unwrap_err(),
            "a.weight has 2 columns, and 4 in the matrix"
        );
        let foreign = [entry("x", 1), entry("y", 1), entry("a.weight", 2)];
        assert_eq!(fits(&foreign, &model).unwrap_err(), "the model has only 1 of its 3 tensors");
    }
}
