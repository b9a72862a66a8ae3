//! Formulas for an upper bound on the memory of each part of serving.

use std::fmt;

use hedgerow_core::node::KvType;

use super::{Dimensions, mb};
use crate::config::Config;

/// The settings that determine memory use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// Maximum number of requests that run at once; the KV cache has room for `context` tokens of each.
    pub parallel: u64,
    /// Maximum tokens per request.
    pub context: u64,
    /// Number of ended requests whose tokens are retained (prefix caching).
    pub retained: u64,
    /// Maximum tokens of one pass through the model.
    pub micro_batch: u64,
    /// Number format of the KV cache and of the retained tokens.
    pub kv_type: KvType,
    /// Maximum number of queued requests.
    pub(crate) queue: u64,
    /// Memory limit for weights, from `model.weights_gb`.
    pub weights_limit: Option<u64>,
    /// Bytes of weights and cache that are on another device and not in this memory.
    pub(crate) on_device: u64,
}

impl Setup {
    /// Reads the settings from a configuration.
    pub fn of(config: &Config) -> Self {
        let engine = &config.engine;
        Self {
            parallel: engine.parallel.into(),
            context: engine.context.0.into(),
            retained: engine.retained.into(),
            micro_batch: engine.micro_batch.into(),
            kv_type: engine.kv_type,
            queue: config.settings.queue_capacity as u64,
            weights_limit: config.model.weights_limit.map(|limit| limit.0),
            on_device: 0,
        }
    }

    /// Tokens that the KV cache has room for; llama.cpp rounds each request's share up.
    fn cells(&self) -> u64 {
        self.context.next_multiple_of(CELLS_STEP).saturating_mul(self.parallel)
    }
}

/// llama.cpp rounds each request's cells up to a multiple of this.
pub(super) const CELLS_STEP: u64 = 256;

/// Bytes of each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Each tensor once, in the layout that the engine computes with. Pages of the file that were copied into another
    /// layout can be dropped by the system and do not count.
    pub weights: u64,
    /// KV caches of running requests.
    pub cache: u64,
    /// Retained tokens of ended requests.
    pub retained: u64,
    /// Compute buffer of a step, and the scores it outputs.
    pub compute: u64,
    /// Prompts of queued requests and output that is not yet sent.
    pub(crate) queue: u64,
    /// The vocabulary, the cache's metadata, and threads.
    pub other: u64,
}

impl Parts {
    /// Estimates the memory of some precisions of a model that are served together.
    ///
    /// The weights of all are in memory at the start. Engines are created one after the other, and those that exceed
    /// `model.weights_gb` are dropped after they were measured: only the largest of those counts.
    pub fn of(models: &[Dimensions], setup: &Setup) -> Self {
        let mut held = 0_u64;
        let (mut parts, mut largest_dropped) = (Self::default(), Self::default());
        for (index, model) in models.iter().enumerate() {
            let engine = Self::of_engine(model, setup);
            parts.weights = parts.weights.saturating_add(model.weights).saturating_add(model.repacking);
            // As the node counts them: the first engine's cache does not count towards the limit.
            let cache =
                setup.kv_type.bytes(model.cache_numbers).0.saturating_mul(setup.parallel * setup.context);
            let counted = model.weights + if index > 0 { cache } else { 0 };
            let is_kept = setup.weights_limit.is_none_or(|limit| held.saturating_add(counted) <= limit);
            if is_kept || index == 0 {
                held = held.saturating_add(counted);
                parts = parts.plus(&engine);
            } else if engine.total() > largest_dropped.total() {
                largest_dropped = engine;
            }
        }
        parts = parts.plus(&largest_dropped);
        parts.weights = parts.weights.saturating_sub(setup.on_device);
        parts.queue = queue(setup);
        parts.other = parts.other.saturating_add(PROCESS);
        parts
    }

    /// Estimates an engine and its vocabulary, without its weights.
    fn of_engine(model: &Dimensions, setup: &Setup) -> Self {
        let per_token = setup.kv_type.bytes(model.cache_numbers).0;
        let cells = setup.cells();
        // One more than are retained: a copy is made before another is dropped.
        let kept = if setup.retained > 0 { setup.retained + 1 } else { 0 };
        Self {
            weights: 0,
            cache: cells.saturating_mul(per_token),
            retained: kept.saturating_mul(setup.context).saturating_mul(per_token),
            compute: compute(model, setup),
            queue: 0,
            other: cells.saturating_mul(CELL).saturating_add(model.metadata.saturating_mul(VOCABULARY)),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        let all = [self.weights, self.cache, self.retained, self.compute, self.queue, self.other];
        all.into_iter().fold(0, u64::saturating_add)
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            weights: self.weights.saturating_add(other.weights),
            cache: self.cache.saturating_add(other.cache),
            retained: self.retained.saturating_add(other.retained),
            compute: self.compute.saturating_add(other.compute),
            queue: self.queue.saturating_add(other.queue),
            other: self.other.saturating_add(other.other),
        }
    }

    /// Returns each nonzero part with its name.
    pub(super) fn named(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("weights", self.weights),
            ("KV cache", self.cache),
            ("tokens kept of ended requests", self.retained),
            ("compute buffers", self.compute),
            ("queue and answers", self.queue),
            ("vocabulary and the rest", self.other),
        ];
        all.into_iter().filter(|part| part.1 > 0).collect()
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.named().into_iter().map(|(name, bytes)| format!("{name} {}", mb(bytes))).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Metadata of one cell of the cache and of one token of the batch: position, requests, llama.cpp's maps.
const CELL: u64 = 200;
/// Ratio of a vocabulary's size in memory to its size in the file: each token and each merge is an entry in a map.
const VOCABULARY: u64 = 10;
/// Threads, connections and the program itself.
const PROCESS: u64 = 16_000_000;
/// Bytes per value: computations use 32 bits.
const NUMBER: u64 = 4;
/// The attention mask has 16 bits for each token of the pass and each cell of one request.
const MASK: u64 = 2;

/// Estimates llama.cpp's compute buffer and its output buffer.
///
/// The graph allocator reuses memory of tensors after their last reader. The scores of a whole pass over the
/// vocabulary come last and are the largest tensor, unless the mask over a long context is larger: then the mask
/// determines the size. A layer needs some copies of the hidden state, and two of its widest part. Measured for
/// llama.cpp of `llama-cpp-2` 0.1.160; `tests/memory.rs` compares the estimate with llama.cpp's report.
fn compute(model: &Dimensions, setup: &Setup) -> u64 {
    let pass = setup.micro_batch.max(setup.parallel);
    let context = setup.context.next_multiple_of(CELLS_STEP);
    let scores = model.vocabulary.saturating_mul(pass * NUMBER);
    let mask = context.saturating_mul(pass * MASK);
    let layer = (8 * model.hidden + 2 * model.widest).saturating_mul(pass * NUMBER);
    let graph = if mask >= scores { mask } else { scores.saturating_add(mask) };
    let outputs = model.vocabulary.saturating_mul(setup.parallel * NUMBER);
    graph.saturating_add(layer).saturating_add(outputs)
}

/// A token id in a queued prompt.
const PROMPT_TOKEN: u64 = 4;
/// An output token that its caller has not read: an entry of a channel and a short text.
const ANSWER_TOKEN: u64 = 100;
/// The request itself, and its connection.
const REQUEST: u64 = 16_384;

/// Memory of queued requests, each with the longest prompt, and of output that is never read.
fn queue(setup: &Setup) -> u64 {
    let waiting = setup.queue.saturating_mul(REQUEST + setup.context * PROMPT_TOKEN);
    waiting.saturating_add(setup.parallel.saturating_mul(setup.context * ANSWER_TOKEN))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Dimensions of the small model.
    pub(in crate::footprint) fn small() -> Dimensions {
        Dimensions {
            precision: "Q4_1".into(),
            parameters: 134_515_008,
            weights: 96_573_696,
            repacking: 0,
            metadata: 1_788_736,
            cache_numbers: 30 * 3 * 128,
            hidden: 576,
            widest: 1536,
            vocabulary: 49_152,
        }
    }

    pub(in crate::footprint) fn usual() -> Setup {
        Setup {
            parallel: 16,
            context: 2048,
            retained: 4,
            micro_batch: 128,
            kv_type: KvType::F16,
            queue: 512,
            weights_limit: None,
            on_device: 0,
        }
    }

    /// llama.cpp's report for the small model, in MiB: KV, compute and output buffer.
    #[test]
    fn buffers_are_bounded_by_their_formulas_as_llama_cpp_reported_them() {
        let reported = [
            (2, 256, 128, KvType::F16, 11.25, 25.47, 0.38),
            (16, 2048, 128, KvType::F16, 720.0, 26.19, 3.0),
            (16, 2048, 512, KvType::F16, 720.0, 104.77, 3.0),
            (1, 8192, 64, KvType::F16, 180.0, 13.71, 0.19),
            (4, 16_384, 128, KvType::Q8_0, 765.0, 29.44, 0.75),
            (1, 131_072, 128, KvType::Q4_0, 810.0, 35.69, 0.19),
            (64, 512, 128, KvType::F16, 720.0, 25.54, 12.0),
        ];
        for (parallel, context, micro_batch, kv_type, cache, compute, output) in reported {
            let setup = Setup { parallel, context, micro_batch, kv_type, ..usual() };
            let parts = Parts::of(&[small()], &setup);
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            assert_eq!(mib(parts.cache), cache, "{setup:?}");
            let ratio = mib(parts.compute) / (compute + output);
            assert!((1.0..1.3).contains(&ratio), "{ratio} {setup:?}");
        }
    }

    #[test]
    fn several_precisions_are_added_up_and_what_is_dropped_again_counts_once() {
        let all = [small(), small(), small()];
        let one = Parts::of(&all[..1], &usual());
        let three = Parts::of(&all, &usual());
        assert_eq!(three.weights, 3 * one.weights);
        assert_eq!((three.cache, three.queue), (3 * one.cache, one.queue));
        // Room for the weights of the first only.
        let limited = Setup { weights_limit: Some(100_000_000), ..usual() };
        let of_limited = Parts::of(&all, &limited);
        assert_eq!((of_limited.weights, of_limited.cache), (three.weights, 2 * one.cache));
    }

    #[test]
    fn what_lies_on_a_device_takes_no_memory_here() {
        let setup = Setup { on_device: 90_000_000, ..usual() };
        assert_eq!(Parts::of(&[small()], &setup).weights, 96_573_696 - 90_000_000);
    }
}
