//! The models and devices that scenarios name: tables of published figures, embedded in the program.
//!
//! Each row names its source; `data/devices.csv` also says whether its figures were checked against it.

use std::sync::LazyLock;

use hedgerow_core::node::{KvType, ModelShape};
use hedgerow_core::units::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| rows(include_str!("../data/models.csv")));
static DEVICES: LazyLock<Vec<Device>> = LazyLock::new(|| rows(include_str!("../data/devices.csv")));

/// A language model with the dimensions of its published configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in scenarios.
    pub name: String,
    layers: u32,
    hidden: u32,
    kv_width: u32,
    feed_forward: u32,
    vocabulary: u32,
    #[serde(deserialize_with = "yes_or_no")]
    gated: bool,
    /// Whether the input and output embeddings share one matrix.
    #[serde(deserialize_with = "yes_or_no")]
    tied: bool,
    /// The context length in tokens that it was trained for.
    pub context: u32,
    /// The source of its figures.
    pub source: String,
}

/// An accelerator, or a CPU used as one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name in scenarios.
    pub name: String,
    /// Peak arithmetic speed, in 16 bits if supported.
    pub tflops: Option<f64>,
    /// Its memory, in GB.
    pub memory_gb: f64,
    /// Its memory bandwidth in GB/s.
    pub bandwidth_gb_per_s: f64,
    /// Whether the figures were checked against the source: `yes`, `partly`, `no` or `computed`.
    pub checked: String,
    /// The source of its figures.
    pub source: String,
}

impl Model {
    /// Finds a model by name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// The names of all models.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|model| model.name.as_str())
    }

    /// The dimensions from which the cost model computes.
    pub fn shape(&self) -> ModelShape {
        ModelShape {
            layers: self.layers,
            hidden: self.hidden,
            kv_width: self.kv_width,
            feed_forward: self.feed_forward,
            gated: self.gated,
            vocabulary: self.vocabulary,
            kv_type: KvType::F16,
        }
    }

    /// The size of all weights in 16 bits, with a separate output embedding if it is not tied.
    pub fn weights_16_bit(&self) -> Bytes {
        let words = if self.tied { 0 } else { 2 * u64::from(self.hidden) * u64::from(self.vocabulary) };
        self.shape().weights_16_bit() + Bytes(words)
    }
}

impl Device {
    /// Finds a device by name.
    pub fn named(name: &str) -> Option<&'static Self> {
        DEVICES.iter().find(|device| device.name == name)
    }

    /// The names of all devices.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DEVICES.iter().map(|device| device.name.as_str())
    }
}

/// Reads an embedded table.
pub(crate) fn rows<T: DeserializeOwned>(table: &str) -> Vec<T> {
    let rows = csv::Reader::from_reader(table.as_bytes()).into_deserialize();
    rows.collect::<Result<_, _>>().expect("a test reads the embedded table")
}

fn yes_or_no<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match <&str>::deserialize(deserializer)? {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(serde::de::Error::invalid_value(serde::de::Unexpected::Str(other), &"`yes` or `no`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_weights_add_up_to_its_name() {
        // Counted by hand from blocks and vocabulary; biases, norms and positions are left out.
        let weights = |name| Model::named(name).unwrap().weights_16_bit().0 / 2;
        assert_eq!(weights("BLOOM-3B"), 3_001_548_800);
        assert_eq!(weights("BLOOM-7.1B"), 7_067_402_240);
        assert_eq!(weights("OPT-13B"), 12_840_304_640);
        // Names that state the number of weights: within 9 % of the count.
        for model in MODELS.iter() {
            let stated = model.name.rsplit('-').next().unwrap();
            let (number, unit) = stated.split_at(stated.len() - 1);
            let stated = number.parse::<f64>().unwrap() * if unit == "M" { 1e6 } else { 1e9 };
            let counted = model.weights_16_bit().0 as f64 / 2.0;
            assert!((counted / stated - 1.0).abs() < 0.09, "{}: {counted} weights", model.name);
        }
    }

    #[test]
    fn a_token_of_llama_3_70b_takes_327_680_bytes_of_kv_cache() {
        // 80 layers, 8 heads of 128, keys and values of 2 bytes.
        assert_eq!(Model::named("Llama-3-70B").unwrap().shape().kv_per_token(), Bytes(327_680));
    }

    #[test]
    fn every_device_has_memory_and_its_speed() {
        assert!(Device::names().count() >= 10);
        for device in DEVICES.iter() {
            assert!(device.memory_gb > 0.0 && device.bandwidth_gb_per_s > 0.0, "{device:?}");
            assert!(device.tflops.is_none_or(|tflops| tflops > 0.0), "{device:?}");
            assert!(["yes", "partly", "no", "computed"].contains(&device.checked.as_str()), "{device:?}");
        }
    }
}
