//! Calculates the memory of a model and an engine, by layer, from the file's header alone.

use hedgerow_core::node::KvType;
use hedgerow_llama::EngineOptions;

use super::fit::Sizes;
use crate::models::{GgufSummary, GgufTensor};

/// llama.cpp rounds each request's cells up to a multiple of this.
const CELLS_STEP: u64 = 256;

/// Returns the sizes of a model with this header in an engine with these options.
pub(super) fn sizes(summary: &GgufSummary, tensors: &[GgufTensor], options: &EngineOptions) -> Sizes {
    let layer_count = summary.layers.unwrap_or(0);
    let mut sizes = Sizes {
        layers: vec![0; usize::try_from(layer_count).unwrap_or(0).min(tensors.len())],
        output: 0,
        input: 0,
        kv_per_layer: kv_per_layer(summary, options),
        compute: compute(tensors, options),
    };
    let has_output = tensors.iter().any(|tensor| tensor.name == "output.weight");
    for tensor in tensors {
        let layer = layer_of(&tensor.name).and_then(|layer| sizes.layers.get_mut(layer));
        match layer {
            Some(layer) => *layer += tensor.bytes,
            None if tensor.name.starts_with("token_embd.") => {
                sizes.input += tensor.bytes;
                // Without an output matrix the input embedding is loaded a second time.
                if !has_output && tensor.name == "token_embd.weight" {
                    sizes.output += tensor.bytes;
                }
            }
            None => sizes.output += tensor.bytes,
        }
    }
    sizes
}

/// Parses the layer from a tensor's name: `blk.7.attn_q.weight` belongs to layer 7.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

fn kv_per_layer(summary: &GgufSummary, options: &EngineOptions) -> u64 {
    let layers = summary.layers.unwrap_or(1).max(1);
    // Where layers differ the header has lists; then an upper bound assumes keys and values for each head.
    let upper = summary.hidden.unwrap_or(0).saturating_mul(2).saturating_mul(layers);
    let numbers = summary.cache_numbers.unwrap_or(upper).div_ceil(layers);
    let cells =
        u64::from(options.context.0).next_multiple_of(CELLS_STEP).saturating_mul(u64::from(options.parallel));
    let kv_type: KvType = options.kv_type;
    kv_type.bytes(numbers).0.saturating_mul(cells)
}

/// Estimates, on the high side, the memory that a device needs for the intermediate tensors of a step: for each token
/// of a pass the scores of the whole vocabulary, some vectors of the layers' widths and the attention mask, in 32
/// bits; and the largest matrix in 16 bits, because some kernels unpack it first.
fn compute(tensors: &[GgufTensor], options: &EngineOptions) -> u64 {
    let tokens = u64::from(options.micro_batch.0);
    let widest = |tensor: &GgufTensor| tensor.lengths.iter().copied().max().unwrap_or(0);
    let of_layers = tensors.iter().filter(|tensor| layer_of(&tensor.name).is_some());
    let width = of_layers.map(widest).max().unwrap_or(0);
    let vocabulary =
        tensors.iter().filter(|tensor| layer_of(&tensor.name).is_none()).map(widest).max().unwrap_or(0);
    let numbers = |tensor: &GgufTensor| {
        tensor.lengths.iter().fold(1_u64, |product, &length| product.saturating_mul(length))
    };
    let largest = tensors.iter().map(numbers).max().unwrap_or(0);
    let for_each_token = vocabulary
        .saturating_add(width.saturating_mul(16))
        .saturating_add(u64::from(options.context.0).saturating_mul(2));
    tokens.saturating_mul(for_each_token).saturating_mul(4).saturating_add(largest.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use hedgerow_core::units::Tokens;

    use super::*;
    use crate::models;

    fn options() -> EngineOptions {
        EngineOptions {
            parallel: 2,
            context: Tokens(300),
            retained: 4,
            threads: 1,
            threads_batch: 1,
            micro_batch: Tokens(10),
            kv_unified: false,
            flash_attention: true,
            kv_type: KvType::F16,
        }
    }

    fn summary(cache_numbers: Option<u64>) -> GgufSummary {
        GgufSummary {
            experts_used: None,
            version: 3,
            architecture: None,
            name: None,
            context_tokens: None,
            quantization: None,
            cache_numbers,
            layers: Some(2),
            hidden: Some(64),
            tensor_count: 0,
            tensor_types: Default::default(),
            chat_template: None,
            file_bytes: 0,
        }
    }

    fn tensor(name: &str, lengths: &[u64], bytes: u64) -> GgufTensor {
        GgufTensor { name: name.into(), kind: "F16".into(), lengths: lengths.to_vec(), bytes, at: 0 }
    }

    #[test]
    fn tensors_are_counted_where_llama_cpp_puts_them() {
        let mut tensors = vec![
            tensor("token_embd.weight", &[64, 1000], 500),
            tensor("blk.0.attn_q.weight", &[64, 64], 10),
            tensor("blk.1.attn_q.weight", &[64, 64], 20),
            tensor("blk.1.ffn_up.weight", &[64, 256], 30),
            tensor("output_norm.weight", &[64], 4),
        ];
        let tied = sizes(&summary(Some(80)), &tensors, &options());
        assert_eq!((tied.layers, tied.output, tied.input), (vec![10, 50], 504, 500));
        tensors.push(tensor("output.weight", &[64, 1000], 700));
        let own = sizes(&summary(Some(80)), &tensors, &options());
        assert_eq!((own.output, own.input), (704, 500));
        assert_eq!(own.compute, 10 * (1000 + 256 * 16 + 600) * 4 + 64_000 * 2);
    }

    #[test]
    fn the_cache_is_rounded_as_llama_cpp_rounds_it() {
        let cells = 2 * 512;
        assert_eq!(kv_per_layer(&summary(Some(80)), &options()), 40 * 2 * cells);
        assert_eq!(
            kv_per_layer(&summary(None), &options()),
            2 * 64 * 2 * cells,
            "unknown: as if no heads were shared"
        );
        let small = EngineOptions { kv_type: KvType::Q8_0, ..options() };
        assert_eq!(kv_per_layer(&summary(Some(64)), &small), 34 * cells);
    }

    #[test]
    fn the_small_model_is_as_large_as_its_file() {
        let Some(path) = std::env::var_os("HEDGEROW_TEST_MODEL") else {
            println!("skipped: HEDGEROW_TEST_MODEL names no file");
            return;
        };
        let path = std::path::Path::new(&path);
        let summary = models::validate_gguf(path).unwrap();
        let tensors = models::read_tensors(path).unwrap();
        let sizes = sizes(&summary, &tensors, &options());
        let weights: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
        assert_eq!(sizes.layers.len() as u64, summary.layers.unwrap());
        // Its output is the input embedding, counted twice.
        let norm = sizes.output - sizes.input;
        assert_eq!(sizes.layers.iter().sum::<u64>() + sizes.input + norm, weights);
        assert!(sizes.layers.iter().all(|&layer| layer > 0), "{sizes:?}");
    }
}
