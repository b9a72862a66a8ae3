//! The models that scenarios name, as their published configurations have them.

use hedgerow_core::node::{KvType, ModelShape};

/// Models by name. Shapes: the `config.json` of each model (BLOOM: feed-forward 4 × hidden).
const MODELS: [(&str, ModelShape); 3] = [
    (
        "BLOOM-3B",
        ModelShape {
            layers: 30,
            hidden: 2560,
            kv_width: 2560,
            feed_forward: 10_240,
            gated: false,
            vocabulary: 250_880,
            kv_type: KvType::F16,
        },
    ),
    (
        "BLOOM-7.1B",
        ModelShape {
            layers: 30,
            hidden: 4096,
            kv_width: 4096,
            feed_forward: 16_384,
            gated: false,
            vocabulary: 250_880,
            kv_type: KvType::F16,
        },
    ),
    (
        "OPT-13B",
        ModelShape {
            layers: 40,
            hidden: 5120,
            kv_width: 5120,
            feed_forward: 20_480,
            gated: false,
            vocabulary: 50_272,
            kv_type: KvType::F16,
        },
    ),
];

/// Every name.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|(name, _)| *name)
}

/// The shape of a model.
pub(crate) fn shape(name: &str) -> Option<ModelShape> {
    MODELS.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_weights_add_up_to_its_name() {
        // Counted by hand from blocks and vocabulary; biases, norms and positions are left out.
        let weights = |name| shape(name).unwrap().weights_16_bit().0 / 2;
        assert_eq!(weights("BLOOM-3B"), 3_001_548_800);
        assert_eq!(weights("BLOOM-7.1B"), 7_067_402_240);
        assert_eq!(weights("OPT-13B"), 12_840_304_640);
    }
}
