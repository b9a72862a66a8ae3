//! Reads the numbers that determine a model's memory from its file's header.

use std::path::Path;

use crate::models::{self, GgufSummary, GgufTensor, ModelError};

/// The numbers that determine a model's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimensions {
    /// Storage format of its weights.
    pub precision: String,
    /// Number of parameters in all tensors.
    pub parameters: u64,
    /// Bytes of all tensors in the file.
    pub weights: u64,
    /// Bytes that llama.cpp's repacked layouts of the weights may take in addition to the file's own.
    pub(crate) repacking: u64,
    /// Bytes before the tensors: vocabulary, merges and the template.
    pub metadata: u64,
    /// Values in the KV cache per token.
    pub cache_numbers: u64,
    /// Width of the hidden state: values that pass from layer to layer per token.
    pub hidden: u64,
    /// The largest number of values that a part of a layer produces per token.
    pub(crate) widest: u64,
    pub(crate) vocabulary: u64,
}

impl Dimensions {
    /// Reads a file's header; `features` are the instruction sets of the processor that will compute.
    ///
    /// # Errors
    ///
    /// When the file is not a complete GGUF file.
    pub fn read(file: &Path, features: &[String]) -> Result<Self, ModelError> {
        let summary = models::validate_gguf(file)?;
        let tensors = models::read_tensors(file)?;
        Ok(Self::of(&summary, &tensors, features))
    }

    fn of(summary: &GgufSummary, tensors: &[GgufTensor], features: &[String]) -> Self {
        let named = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let embedding = named("token_embd.weight");
        let length =
            |index: usize| embedding.and_then(|tensor| tensor.lengths.get(index)).copied().unwrap_or(0);
        let experts = summary.experts_used.unwrap_or(1);
        // Outputs of each matrix of a layer per token; with experts, those of all active ones.
        let outputs = tensors.iter().filter(|tensor| tensor.name.starts_with("blk.")).map(|tensor| {
            let rows = tensor.lengths.get(1).copied().unwrap_or(1);
            if tensor.lengths.len() > 2 { rows.saturating_mul(experts) } else { rows }
        });
        let growth: u64 = tensors.iter().map(|tensor| growth(tensor, features)).sum();
        // A model without an output matrix reuses the embedding: as it is, or as a repacked copy.
        let is_shared = named("output.weight").is_none();
        let copy = embedding.filter(|tensor| is_shared && may_be_repacked(&tensor.kind, features));
        let numbers = |tensor: &GgufTensor| tensor.lengths.iter().copied().fold(1, u64::saturating_mul);
        Self {
            precision: summary.quantization.clone().unwrap_or_else(|| "unknown".to_owned()),
            parameters: tensors.iter().map(numbers).sum(),
            weights: tensors.iter().map(|tensor| tensor.bytes).sum(),
            repacking: growth + copy.map_or(0, |tensor| tensor.bytes),
            metadata: tensors.iter().map(|tensor| tensor.at).min().unwrap_or(0),
            cache_numbers: summary.cache_numbers.unwrap_or_else(|| by_tensors(tensors)),
            hidden: length(0),
            widest: outputs.max().unwrap_or(0),
            vocabulary: length(1),
        }
    }
}

/// Values in the cache per token where the header has no single numbers for it: the outputs of all layers' key and
/// value matrices.
fn by_tensors(tensors: &[GgufTensor]) -> u64 {
    let is_kept = |tensor: &&GgufTensor| {
        tensor.name.ends_with(".attn_k.weight") || tensor.name.ends_with(".attn_v.weight")
    };
    tensors.iter().filter(is_kept).filter_map(|tensor| tensor.lengths.get(1)).sum()
}

/// Whether llama.cpp has a repacked layout of such a tensor for such a processor (`ggml-cpu/repack.cpp`,
/// `amx/common.h`). It then copies the tensor, and the system can drop the file's pages.
fn may_be_repacked(kind: &str, features: &[String]) -> bool {
    let has = |name: &str| features.iter().any(|feature| feature == name);
    let of_avx = has("avx2") && ["Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"].contains(&kind);
    let of_arm =
        has("asimddp") && ["Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q1_0"].contains(&kind);
    of_avx || of_arm || (has("amx_int8") && of_amx(kind).is_some())
}

/// Size of a block and the bytes that the AMX layout adds to it, where there is such a layout (`amx/mmq.cpp`).
fn of_amx(kind: &str) -> Option<(u64, u64)> {
    match kind {
        // The sum of each block, to compensate for unsigned products.
        "Q4_0" => Some((18, 4)),
        "Q8_0" => Some((34, 4)),
        "Q4_1" => Some((20, 0)),
        // Unpacked scales.
        "Q4_K" => Some((144, 4)),
        "Q5_K" => Some((176, 4)),
        "Q6_K" => Some((210, 0)),
        "IQ4_XS" => Some((136, 2)),
        _ => None,
    }
}

fn growth(tensor: &GgufTensor, features: &[String]) -> u64 {
    let has_amx = features.iter().any(|feature| feature == "amx_int8");
    let of_block = of_amx(&tensor.kind).filter(|_| has_amx && tensor.lengths.len() > 1);
    of_block.map_or(0, |(block, more)| (tensor.bytes / block).saturating_mul(more))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tensor(name: &str, kind: &str, lengths: &[u64], bytes: u64) -> GgufTensor {
        GgufTensor { name: name.into(), kind: kind.into(), lengths: lengths.to_vec(), bytes, at: 5000 }
    }

    fn of(tensors: &[GgufTensor], features: &[&str], experts_used: Option<u64>) -> Dimensions {
        let summary = GgufSummary {
            version: 3,
            architecture: Some("llama".into()),
            name: None,
            context_tokens: None,
            quantization: Some("Q4_0".into()),
            cache_numbers: None,
            experts_used,
            layers: None,
            hidden: None,
            tensor_count: tensors.len() as u64,
            tensor_types: BTreeMap::new(),
            chat_template: None,
            file_bytes: 0,
        };
        let features: Vec<String> = features.iter().map(|&feature| feature.to_owned()).collect();
        Dimensions::of(&summary, tensors, &features)
    }

    #[test]
    fn a_model_is_described_by_its_tensors() {
        let tensors = [
            tensor("token_embd.weight", "Q8_0", &[64, 1000], 68_000),
            tensor("blk.0.attn_k.weight", "Q4_0", &[64, 32], 1_152),
            tensor("blk.0.attn_v.weight", "Q4_0", &[64, 16], 576),
            tensor("blk.0.ffn_up.weight", "Q4_0", &[64, 256], 9_216),
        ];
        let dimensions = of(&tensors, &["avx2"], None);
        assert_eq!((dimensions.weights, dimensions.repacking, dimensions.metadata), (78_944, 0, 5000));
        assert_eq!((dimensions.hidden, dimensions.widest, dimensions.vocabulary), (64, 256, 1000));
        assert_eq!((dimensions.cache_numbers, dimensions.parameters), (48, 64 * (1000 + 32 + 16 + 256)));
        let on_arm = of(&tensors, &["asimddp"], None);
        assert_eq!(on_arm.repacking, 68_000, "the embedding is the last matrix too, in a layout of its own");
    }

    #[test]
    fn the_layout_for_amx_is_larger_than_the_file_has_it() {
        let tensors = [
            tensor("output.weight", "F16", &[64, 10], 1_280),
            tensor("blk.0.ffn_up.weight", "Q4_0", &[64, 256], 9_216),
        ];
        assert_eq!(of(&tensors, &["amx_int8"], None).repacking, 9_216 * 4 / 18);
        assert_eq!(of(&tensors, &["avx2"], None).repacking, 0);
    }

    #[test]
    fn as_many_experts_count_as_work_on_a_token() {
        let tensors = [tensor("blk.0.ffn_up_exps.weight", "F16", &[64, 100, 8], 102_400)];
        assert_eq!(of(&tensors, &[], Some(2)).widest, 200);
    }
}
