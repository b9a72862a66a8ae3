//! The edge node: memory, compute, band, and the model that it serves.

use crate::model::cost::CostModel;
use crate::model::precision::Precision;
use crate::model::radio::Radio;
use crate::model::time::Span;
use crate::model::units::{Bytes, Tokens};
use crate::model::wire::Wire;

/// The properties of the node that decisions depend on.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Node {
    /// Memory for weights and KV cache, `M`.
    pub memory: Bytes,
    /// The model's shape.
    pub model: ModelShape,
    /// The available precisions; their weights share [`Node::memory`]. Never empty.
    pub precisions: Vec<Precision>,
    /// The most memory for weights at once; `None` where there is enough for those of all precisions.
    #[serde(default)]
    pub weights_limit: Option<Bytes>,
    /// Tokens per block of the KV cache, which is allocated in blocks: a request's last block is partly empty.
    #[serde(default = "one_token")]
    pub kv_block: Tokens,
    /// How long a step takes.
    pub cost: CostModel,
    /// The most requests the engine runs at once.
    pub max_parallel: u32,
    /// The most tokens one request may hold, prompt and output together.
    pub context: Tokens,
    /// The most prompt tokens one step may prefill.
    pub prefill_chunk: Tokens,
    /// The radio, if requests arrive by one.
    pub radio: Option<Radio>,
    /// The wired link, if requests arrive by one and its capacity is allocated.
    pub wire: Option<Wire>,
}

/// The default block size: an unblocked cache, as in files from before there were blocks.
fn one_token() -> Tokens {
    Tokens(1)
}

impl Node {
    /// KV memory of `tokens` tokens, in whole blocks (`model.md §1`).
    pub fn kv_memory_of(&self, tokens: Tokens) -> Bytes {
        let block = self.kv_block.0.max(1);
        let blocks = u64::from(tokens.0.div_ceil(block));
        Bytes(blocks * u64::from(block) * self.model.kv_per_token().0)
    }

    /// Memory for weights.
    pub fn weights_memory(&self) -> Bytes {
        let all = self.precisions.iter().map(|precision| precision.weights).sum();
        self.weights_limit.map_or(all, |limit| limit.min(all))
    }

    /// Memory left for KV caches beside the weights: `M − Σ α_q·weights` (`model.md §1`).
    pub fn kv_memory(&self) -> Bytes {
        self.memory.saturating_sub(self.weights_memory())
    }

    /// The least time between the first and the last token of an answer, at the fastest precision.
    pub fn least_decoding(&self, prompt: Tokens, output: Tokens) -> Span {
        let step = |precision| self.cost.decode(&self.model, precision, 1, prompt);
        let fastest = self.precisions.iter().map(step).min().unwrap_or_default();
        fastest * output.0.saturating_sub(1)
    }

    /// Time to transmit a prompt over the radio, `T_U`; zero without a radio.
    pub fn uplink_slot(&self) -> Span {
        self.radio.as_ref().map_or(Span::ZERO, |radio| radio.uplink_slot)
    }

    /// Time to transmit an answer over the radio after its last token, `T_D`; zero without a radio.
    pub fn downlink_slot(&self) -> Span {
        self.radio.as_ref().map_or(Span::ZERO, |radio| radio.downlink_slot)
    }
}

/// The dimensions of a transformer that determine its cost (`model.md §1`).
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct ModelShape {
    /// Layers `L`.
    pub layers: u32,
    /// Hidden width `d`.
    pub hidden: u32,
    /// Key/value width `d_kv`: the number of key/value heads times their width.
    pub kv_width: u32,
    /// Feed-forward width `f`.
    pub feed_forward: u32,
    /// Whether the feed-forward part is gated: three matrices instead of two.
    pub gated: bool,
    /// Vocabulary size `V`.
    pub vocabulary: u32,
    /// Number format of keys and values in the cache, `b_kv`.
    #[serde(default)]
    pub kv_type: KvType,
}

/// Number formats of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// 16 bits each.
    #[default]
    F16,
    /// 8 bits each; 32 of them share a scale of 16 bits.
    Q8_0,
    /// 4 bits each; 32 of them share a scale of 16 bits.
    Q4_0,
}

impl KvType {
    /// All of them, the most exact first.
    pub const ALL: [Self; 3] = [Self::F16, Self::Q8_0, Self::Q4_0];

    /// Its name: `f16`, `q8_0`, `q4_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Size of `numbers` numbers. They fill whole blocks in every model that supports the format.
    pub fn bytes(self, numbers: u64) -> Bytes {
        let (block, size) = match self {
            Self::F16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
        };
        Bytes(numbers.div_ceil(block).saturating_mul(size))
    }
}

impl ModelShape {
    /// Weights of one layer: `P = 2d² + 2·d·d_kv + g·d·f` (`model.md §1`).
    pub fn layer_weights(&self) -> f64 {
        let d = f64::from(self.hidden);
        let matrices = if self.gated { 3.0 } else { 2.0 };
        2.0 * d * d + 2.0 * d * f64::from(self.kv_width) + matrices * d * f64::from(self.feed_forward)
    }

    /// Size of the weights of all layers and the vocabulary, at 16 bits.
    pub fn weights_16_bit(&self) -> Bytes {
        let vocabulary = f64::from(self.hidden) * f64::from(self.vocabulary);
        Bytes((2.0 * (f64::from(self.layers) * self.layer_weights() + vocabulary)) as u64)
    }

    /// KV cache of one token: `2 L d_kv b_kv` bytes (`model.md §1`).
    pub fn kv_per_token(&self) -> Bytes {
        self.kv_type.bytes(2 * u64::from(self.layers) * u64::from(self.kv_width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BLOOM-3B by its published configuration.
    const BLOOM_3B: ModelShape = ModelShape {
        layers: 30,
        hidden: 2560,
        kv_width: 2560,
        feed_forward: 10240,
        gated: false,
        vocabulary: 250_880,
        kv_type: KvType::F16,
    };

    #[test]
    fn counts_the_weights_of_bloom_3b() {
        // 2,359,296,000 block parameters: models' published total less the embeddings.
        assert_eq!(30.0 * BLOOM_3B.layer_weights(), 2_359_296_000.0);
    }

    #[test]
    fn a_token_of_bloom_3b_takes_307_200_bytes_of_kv_cache() {
        assert_eq!(BLOOM_3B.kv_per_token(), Bytes(307_200));
        let per_token = |kv_type| ModelShape { kv_type, ..BLOOM_3B }.kv_per_token();
        assert_eq!(per_token(KvType::Q8_0), Bytes(307_200 / 2 * 34 / 32));
        assert_eq!(per_token(KvType::Q4_0), Bytes(307_200 / 2 * 18 / 32));
    }
}
