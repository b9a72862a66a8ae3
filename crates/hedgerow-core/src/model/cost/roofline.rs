//! The roofline cost model: a step takes as long as the slower of arithmetic and memory traffic.

use super::StepLoad;
use super::flops::{Attention, decode_flop, prefill_flop};
use crate::model::node::ModelShape;
use crate::model::precision::Precision;
use crate::model::time::Span;
use crate::model::units::{BytesPerSecond, FlopPerSecond};

/// The roofline model, `t = max(β·FLOPs / C, bytes / BW)` for each step (`model.md §1`).
///
/// A step reads all weights once whatever its batch size, which is why batching decodes pays off. The bytes follow
/// from the precision's weights; `β` covers only the arithmetic cost of dequantization.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct RooflineCost {
    /// Arithmetic speed of the whole node, `C`.
    pub speed: FlopPerSecond,
    /// Memory bandwidth of the whole node, `BW`.
    pub bandwidth: BytesPerSecond,
}

impl RooflineCost {
    /// How long one step takes.
    pub fn step(&self, model: &ModelShape, precision: &Precision, load: &StepLoad) -> Span {
        if load.prefill.is_empty() && load.decode_count == 0 {
            return Span::ZERO;
        }
        let flop = prefill_flop(model, Attention::Causal, load) * precision.beta_prefill
            + decode_flop(model, load) * precision.beta_decode;
        let kv_tokens =
            load.decode_kv + load.prefill.iter().map(|chunk| u64::from(chunk.start.0)).sum::<u64>();
        let bytes = precision.weights.0 as f64 + kv_tokens as f64 * model.kv_per_token().0 as f64;
        Span::from_seconds((flop / self.speed).get().max(bytes / self.bandwidth.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cost::CostModel;
    use crate::model::units::{Bytes, Quality, Tokens};

    #[test]
    fn a_second_decode_is_nearly_free_while_memory_bounds() {
        let model = ModelShape {
            layers: 30,
            hidden: 2560,
            kv_width: 2560,
            feed_forward: 10240,
            gated: false,
            vocabulary: 250_880,
            kv_type: crate::model::node::KvType::F16,
        };
        let precision = Precision {
            name: "F16".into(),
            weights: Bytes(6_000_000_000),
            beta_prefill: 1.0,
            beta_decode: 1.0,
            quality: Quality::FULL,
            residency: crate::model::precision::Residency::Always,
            measured: None,
        };
        let cost = CostModel::Roofline(RooflineCost {
            speed: FlopPerSecond::new(26.6e12),
            bandwidth: BytesPerSecond::new(1e12),
        });
        let one = cost.decode(&model, &precision, 1, Tokens(128));
        let two = cost.decode(&model, &precision, 2, Tokens(128));
        assert!(two.0 < one.0 * 102 / 100, "{one} for one, {two} for two");
    }
}
