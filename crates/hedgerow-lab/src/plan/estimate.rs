//! A device that is not here, estimated by the roofline model from its manufacturer's published figures.

use hedgerow_core::engine::CostModel;
use hedgerow_core::engine::cost::RooflineCost;
use hedgerow_core::node::{KvType, ModelShape, Node};
use hedgerow_core::quantization::{Precision, Residency};
use hedgerow_core::units::{Bytes, BytesPerSecond, FlopPerSecond, Tokens};
use hedgerow_node::catalogue::{Figure, Source, quality_of_llama_3_8b};
use hedgerow_node::models::bits_per_number;
use hedgerow_sim::models::{Device, Model};
use hedgerow_workload::hint::hinted;
use hedgerow_workload::hint::nearest;

use super::{Held, Mix};

/// The default candidate precisions.
const PRECISIONS: [&str; 4] = ["F16", "Q8_0", "Q6_K", "Q4_0"];
/// Models with fewer weights lose more quality than the one whose losses are published, so theirs stay unknown.
const WEIGHTS_MIN: f64 = 7e9;
/// The model whose losses are published.
const PUBLISHED: &str = "Llama-3-8B";

/// The query: a model and a device, as typed.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a str,
    pub(crate) device: &'a str,
    pub(crate) accelerators: u32,
    /// The fraction of the published speeds that is reached.
    pub(crate) efficiency: f64,
    /// The memory of all accelerators in total; `None`: the device's.
    pub(crate) memory: Option<Bytes>,
    pub(crate) precisions: &'a [String],
    /// The maximum number of running requests.
    pub(crate) parallel: u32,
    pub(crate) prefill_chunk: Tokens,
    pub(crate) kv_block: Tokens,
    pub(crate) kv_type: KvType,
}

/// A device and a model of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    model: &'static Model,
    device: &'static Device,
    held: Vec<Held>,
    /// The node without any precision yet; the memory that the weights leave is for KV caches.
    bare: Node,
}

impl Estimate {
    /// Whether the table has a model of that name.
    pub(crate) fn knows(model: &str) -> bool {
        named(Model::names(), model).is_some()
    }

    /// Looks up the model and the device.
    ///
    /// # Errors
    ///
    /// When a name is not in its table, the device's arithmetic speed is unknown, or a number is invalid.
    pub(crate) fn new(asked: &Asked<'_>, mix: &Mix) -> anyhow::Result<Self> {
        let model = named(Model::names(), asked.model).and_then(Model::named);
        let model = model.ok_or_else(|| unknown("model", asked.model, Model::names().collect()))?;
        let device = named(Device::names(), asked.device).and_then(Device::named);
        let device = device.ok_or_else(|| unknown("device", asked.device, Device::names().collect()))?;
        let Some(tflops) = device.tflops else {
            return Err(hinted(
                format!("nothing is known of the arithmetic of {}", device.name),
                "name another --device, or measure it there by `hedgerow profile` and plan there",
            ));
        };
        let count = f64::from(asked.accelerators);
        let memory = asked.memory.unwrap_or(Bytes((count * device.memory_gb * 1e9) as u64));
        let names: Vec<&str> = match asked.precisions {
            [] => PRECISIONS.to_vec(),
            named => named.iter().map(String::as_str).collect(),
        };
        let held = names.into_iter().map(|name| held(model, name)).collect::<anyhow::Result<_>>()?;
        let cost = RooflineCost {
            speed: FlopPerSecond::new(count * tflops * 1e12 * asked.efficiency),
            bandwidth: BytesPerSecond::new(count * device.bandwidth_gb_per_s * 1e9 * asked.efficiency),
        };
        let bare = Node {
            memory,
            model: ModelShape { kv_type: asked.kv_type, ..model.shape() },
            precisions: Vec::new(),
            weights_limit: None,
            kv_block: asked.kv_block,
            cost: CostModel::Roofline(cost),
            max_parallel: asked.parallel,
            context: fits_the_model(model, mix)?,
            prefill_chunk: asked.prefill_chunk,
            radio: None,
            wire: None,
        };
        Ok(Self { model, device, held, bare })
    }

    /// The model's name in the table.
    pub(crate) fn model(&self) -> &'static str {
        &self.model.name
    }

    /// The device's entry in the table.
    pub(crate) fn device(&self) -> &'static Device {
        self.device
    }

    /// The memory of all accelerators in total.
    pub(crate) fn memory(&self) -> Bytes {
        self.bare.memory
    }

    /// The candidate precisions.
    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Returns the node that holds a set of precisions.
    pub(crate) fn node(&self, set: &[usize]) -> Node {
        let precision = |&index: &usize| Precision {
            name: self.held[index].name.clone(),
            weights: self.held[index].weights,
            // The traffic follows from the weights' bytes; the arithmetic cost of unpacking them is unknown.
            beta_prefill: 1.0,
            beta_decode: 1.0,
            quality: self.held[index].known_quality(),
            residency: Residency::Always,
            measured: None,
        };
        Node { precisions: set.iter().map(precision).collect(), ..self.bare.clone() }
    }
}

/// Returns the context that a request may have: what the model was trained for.
fn fits_the_model(model: &Model, mix: &Mix) -> anyhow::Result<Tokens> {
    let (longest, context) = (mix.longest(), Tokens(model.context));
    if longest > context {
        return Err(hinted(
            format!("the longest request of the mix has {longest}, and {} takes {context}", model.name),
            "shorten `prompt_tokens` or `output_tokens` in the class file, or name another model",
        ));
    }
    Ok(context)
}

fn held(model: &'static Model, name: &str) -> anyhow::Result<Held> {
    let name = name.to_uppercase();
    let bits = bits_per_number(&name).ok_or_else(|| {
        hinted(
            format!("`{name}` is no precision whose size is known"),
            "name a type that a tensor can have, such as F16, Q8_0, Q6_K, Q5_0, Q4_1, Q4_0 or Q4_K",
        )
    })?;
    let weights = Bytes((model.weights_16_bit().0 as f64 * bits / 16.0) as u64);
    Ok(Held { quality: quality(model, &name, bits), name, weights })
}

/// Returns the published quality; models that are no smaller than the published one are assumed to have the same.
fn quality(model: &Model, precision: &str, bits: f64) -> Option<Figure> {
    if bits >= 16.0 {
        return Some(Source::assumed("it is the reference itself").of(1.0));
    }
    let published = quality_of_llama_3_8b(precision)?;
    match model.name.as_str() {
        PUBLISHED => Some(published),
        _ if model.weights_16_bit().0 as f64 / 2.0 < WEIGHTS_MIN => None,
        _ => Some(Source::assumed(&format!("as {PUBLISHED}: {}", published.source.what)).of(published.value)),
    }
}

/// Finds a name in a table, ignoring case and separators.
fn named(known: impl Iterator<Item = &'static str>, name: &str) -> Option<&'static str> {
    let mut known = known;
    known.find(|known| plain(known) == plain(name))
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|letter| letter.is_alphanumeric() || *letter == '.')
        .flat_map(char::to_lowercase)
        .collect()
}

fn unknown(what: &str, name: &str, known: Vec<&'static str>) -> anyhow::Error {
    let plains: Vec<String> = known.iter().map(|known| plain(known)).collect();
    let nearest = nearest(&plain(name), &plains).and_then(|nearest| named(known.iter().copied(), nearest));
    let meant = nearest.map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
    hinted(
        format!("there is no {what} `{name}` in the table of {what}s"),
        format!("{meant}There are {}", known.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case_and_separators() {
        let found = |name| named(Model::names(), name);
        assert_eq!(found("llama-2-70b"), Some("Llama-2-70B"));
        assert_eq!(found("LLAMA 2 70B"), Some("Llama-2-70B"));
        assert_eq!(named(Device::names(), "rtx-a6000"), Some("RTX A6000"));
        assert_eq!(found("llama-2-71b"), None);
        let error = unknown("device", "rtx 409", Device::names().collect());
        assert!(error.to_string().contains("`rtx 409`"), "{error}");
    }

    #[test]
    fn a_precision_takes_the_bits_of_its_type() {
        let model = Model::named("Llama-3-70B").unwrap();
        let gigabytes = |name| held(model, name).unwrap().weights.0 as f64 / 1e9;
        // 70.6 billion weights of 2 bytes, 8.5 bits and 4.5 bits.
        assert!((gigabytes("f16") - 141.1).abs() < 0.1, "{}", gigabytes("f16"));
        assert!((gigabytes("q8_0") - 75.0).abs() < 0.1, "{}", gigabytes("q8_0"));
        assert!((gigabytes("Q4_0") - 39.7).abs() < 0.1, "{}", gigabytes("Q4_0"));
        assert!(held(model, "W4A16").is_err());
    }

    #[test]
    fn losses_are_published_for_one_model_assumed_for_larger_ones_and_unknown_for_smaller_ones() {
        use hedgerow_node::catalogue::Kind;
        let quality = |model| held(Model::named(model).unwrap(), "Q8_0").unwrap().quality;
        assert_eq!(quality("Llama-3-8B").map(|figure| figure.source.kind), Some(Kind::Published));
        let assumed = quality("Llama-3-70B").unwrap();
        assert_eq!(assumed.source.kind, Kind::Assumed);
        assert!((assumed.value - 1.0 / 1.000_425).abs() < 1e-12);
        assert_eq!(quality("SmolLM2-135M"), None);
    }
}
