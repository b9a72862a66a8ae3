//! The paper's cost model: arithmetic only.

use super::StepLoad;
use crate::model::node::ModelShape;
use crate::model::precision::Precision;
use crate::model::time::Span;
use crate::model::units::{Flop, FlopPerSecond};

/// The paper's cost model, `t = β_q · ΣFLOPs / C` (`model.md §1`).
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct FlopsCost {
    /// Arithmetic speed of the whole node, `C`.
    pub speed: FlopPerSecond,
    /// The tokens that a prompt token attends to.
    pub attention: Attention,
}

/// The tokens that a prompt token attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// The whole prompt, as the paper counts it: `4 L d s²`.
    #[default]
    Full,
    /// Only earlier tokens, as in decoder models: about half of that.
    Causal,
}

impl FlopsCost {
    /// How long one step takes.
    pub fn step(&self, model: &ModelShape, precision: &Precision, load: &StepLoad) -> Span {
        let prefill = prefill_flop(model, self.attention, load);
        let decode = decode_flop(model, load);
        let weighted = prefill * precision.beta_prefill + decode * precision.beta_decode;
        (weighted / self.speed).into()
    }
}

/// FLOPs of a step's prompt chunks: `2 L P s + 4 L d s²`, and `2 d V` for a token produced.
///
/// Equation: `model.md §1`.
pub(super) fn prefill_flop(model: &ModelShape, attention: Attention, load: &StepLoad) -> Flop {
    let layers = f64::from(model.layers);
    let hidden = f64::from(model.hidden);
    let mut flop = 0.0;
    for chunk in &load.prefill {
        let tokens = f64::from(chunk.tokens.0);
        let attended = match attention {
            Attention::Full => f64::from(chunk.prompt.0),
            Attention::Causal => f64::from(chunk.start.0) + (tokens + 1.0) / 2.0,
        };
        flop += 2.0 * layers * model.layer_weights() * tokens + 4.0 * layers * hidden * tokens * attended;
        if chunk.is_last() {
            flop += head_flop(model);
        }
    }
    Flop::new(flop)
}

/// FLOPs of a step's decoding requests: `2 L P + 4 L d (s + k)` and `2 d V` each (`model.md §1`).
pub(super) fn decode_flop(model: &ModelShape, load: &StepLoad) -> Flop {
    let layers = f64::from(model.layers);
    let weights = 2.0 * layers * model.layer_weights() + head_flop(model);
    let attention = 4.0 * layers * f64::from(model.hidden);
    // The token being decoded attends to itself as well as to the cache.
    let attended = load.decode_kv as f64 + f64::from(load.decode_count);
    Flop::new(f64::from(load.decode_count) * weights + attention * attended)
}

fn head_flop(model: &ModelShape) -> f64 {
    2.0 * f64::from(model.hidden) * f64::from(model.vocabulary)
}

#[cfg(test)]
mod tests {
    use super::super::ChunkLoad;
    use super::*;
    use crate::model::units::{Bytes, Quality, Tokens};

    /// Classic attention with `f = 4d`, for which the paper's closed form holds.
    fn classic() -> ModelShape {
        ModelShape {
            layers: 2,
            hidden: 8,
            kv_width: 8,
            feed_forward: 32,
            gated: false,
            vocabulary: 100,
            kv_type: crate::model::node::KvType::F16,
        }
    }

    #[test]
    fn prefill_of_a_classic_model_is_the_papers_24_s_d2_a_layer() {
        let load = StepLoad { prefill: vec![ChunkLoad::whole(Tokens(10))], ..StepLoad::default() };
        let (layers, s, d, vocabulary) = (2.0, 10.0, 8.0, 100.0);
        let closed = layers * (24.0 * s * d * d + 4.0 * d * s * s) + 2.0 * d * vocabulary;
        assert_eq!(prefill_flop(&classic(), Attention::Full, &load).get(), closed);
    }

    #[test]
    fn chunks_of_a_prompt_cost_what_the_whole_prompt_costs() {
        for attention in [Attention::Full, Attention::Causal] {
            let whole = StepLoad { prefill: vec![ChunkLoad::whole(Tokens(10))], ..StepLoad::default() };
            let chunk = |tokens, start| ChunkLoad {
                tokens: Tokens(tokens),
                start: Tokens(start),
                prompt: Tokens(10),
            };
            let chunks =
                StepLoad { prefill: vec![chunk(4, 0), chunk(5, 4), chunk(1, 9)], ..StepLoad::default() };
            let model = classic();
            assert_eq!(prefill_flop(&model, attention, &whole), prefill_flop(&model, attention, &chunks));
        }
    }

    #[test]
    fn quantization_scales_time_by_beta() {
        let precision = |beta| Precision {
            name: "any".into(),
            weights: Bytes(0),
            beta_prefill: beta,
            beta_decode: beta,
            quality: Quality::FULL,
            residency: crate::model::precision::Residency::Always,
            measured: None,
        };
        let cost = FlopsCost { speed: FlopPerSecond::new(1e6), attention: Attention::Full };
        let load = StepLoad {
            prefill: vec![ChunkLoad::whole(Tokens(10))],
            decode_count: 3,
            decode_kv: 30,
            decode_longest: Tokens(10),
        };
        let full = cost.step(&classic(), &precision(1.0), &load);
        let half = cost.step(&classic(), &precision(0.5), &load);
        assert_eq!(half.0, full.0.div_ceil(2));
    }
}
