//! Checks of the node: its model, its accelerators and its cost model.

use std::path::Path;

use hedgerow_core::allocator::Radio;
use hedgerow_core::engine::CostModel;
use hedgerow_core::engine::cost::{Attention, FlopsCost, MeasuredCost, PROFILE_FORMAT, RooflineCost};
use hedgerow_core::node::Node;
use hedgerow_core::quantization::{Precision, Residency, quality_by_perplexity};
use hedgerow_core::units::{Bytes, BytesPerSecond, FlopPerSecond, Quality, Tokens};
use hedgerow_workload::read_text;

use super::super::raw::{Raw, RawAttention, RawCost, RawCostModel, RawNode, RawPrecision};
use super::Checked;
use super::values::{missing, one, unknown, value};
use crate::models::{Device, Model};
use crate::scenario::ScenarioError;

pub(super) fn node(raw: &Raw, radio: Option<Radio>, folder: &Path) -> Checked<Node> {
    let model = model(&raw.model.name)?;
    let node = Node {
        memory: Bytes((memory_gb(&raw.node)? * 1e9) as u64),
        model: model.shape(),
        precisions: resident(raw, model)?,
        weights_limit: None,
        kv_block: Tokens(1),
        cost: cost(&raw.cost, &raw.node, folder)?,
        max_parallel: raw.node.max_parallel,
        context: Tokens(raw.node.context_tokens),
        prefill_chunk: Tokens(raw.node.prefill_chunk_tokens),
        radio,
        wire: None,
    };
    let weights: Bytes = node.precisions.iter().map(|precision| precision.weights).sum();
    if weights >= node.memory {
        return Err(ScenarioError::NoMemory { weights, memory: node.memory });
    }
    if matches!(node.cost, CostModel::Measured(_)) && node.precisions.len() > 1 {
        let named = format!("{:?}", raw.node.resident);
        return Err(value("node.resident", named, "the one precision that was measured"));
    }
    Ok(node)
}

fn model(name: &str) -> Checked<&'static Model> {
    Model::named(name).ok_or_else(|| unknown("model", name, "model.name", Model::names().map(str::to_owned)))
}

/// The device of the node's accelerators, if the node names one.
fn device(raw: &RawNode) -> Checked<Option<&'static Device>> {
    let named = |name: &String| {
        let names = || Device::names().map(str::to_owned);
        Device::named(name).ok_or_else(|| unknown("device", name, "node.device", names()))
    };
    raw.device.as_ref().map(named).transpose()
}

fn memory_gb(raw: &RawNode) -> Checked<f64> {
    match (raw.memory_gb, device(raw)?) {
        (Some(memory_gb), _) => Ok(memory_gb),
        (None, Some(device)) => {
            let memory_gb = f64::from(raw.accelerators) * device.memory_gb;
            let must_be = "few enough to have at most 1e9 GB of memory together";
            if one("node", "memory_gb", "node.memory_gb", memory_gb).is_ok() {
                Ok(memory_gb)
            } else {
                Err(value("node.accelerators", raw.accelerators, must_be))
            }
        }
        (None, None) => Err(missing("node.memory_gb", "a node without a `device` must give its memory")),
    }
}

/// A speed of one accelerator: the node's own value, or else its device's.
fn speed(
    raw: &RawNode,
    key: &'static str,
    own: Option<f64>,
    of: impl Fn(&Device) -> Option<f64>,
    because: &'static str,
) -> Checked<f64> {
    match (own, device(raw)?.and_then(of)) {
        (Some(own), _) => Ok(own),
        (None, Some(of_device)) => Ok(of_device),
        (None, None) => Err(missing(key, because)),
    }
}

/// The resident precisions. The others are checked too, because a sweep may make them resident.
fn resident(raw: &Raw, model: &Model) -> Checked<Vec<Precision>> {
    let all = raw.precision.iter().map(|raw| precision(raw, model)).collect::<Checked<Vec<_>>>()?;
    if let Some((_, twice)) =
        all.iter().enumerate().find(|(index, one)| all[..*index].iter().any(|other| other.name == one.name))
    {
        return Err(value("precision.name", &twice.name, "another name than that of every other precision"));
    }
    if raw.node.resident.is_empty() {
        return Err(value("node.resident", "[]", "a list of one or more precisions"));
    }
    let by_name = |name: &String| {
        let known = || all.iter().map(|precision| precision.name.clone());
        let found = all.iter().find(|precision| precision.name == *name);
        found.cloned().ok_or_else(|| unknown("precision", name, "node.resident", known()))
    };
    raw.node.resident.iter().map(by_name).collect()
}

fn precision(raw: &RawPrecision, model: &Model) -> Checked<Precision> {
    let key = |key: &str| format!("precision.{}.{key}", raw.name);
    let weights = model.weights_16_bit().0 as f64 * raw.alpha;
    let quality = match (raw.quality, raw.perplexity, raw.perplexity_reference) {
        (Some(quality), None, None) => Quality::new(quality).expect("its range was checked"),
        (None, Some(perplexity), Some(reference)) => quality_by_perplexity(reference, perplexity),
        (Some(_), _, _) => {
            return Err(ScenarioError::Conflict { key: key("quality"), other: key("perplexity") });
        }
        (None, _, _) => {
            return Err(missing(key("quality"), "or else `perplexity` and `perplexity_reference`"));
        }
    };
    Ok(Precision {
        name: raw.name.clone(),
        weights: Bytes(weights as u64),
        beta_prefill: raw.beta_prefill,
        beta_decode: raw.beta_decode,
        quality,
        residency: Residency::Always,
        measured: None,
    })
}

/// The cost model; its speeds are the sums over the node's accelerators.
fn cost(raw: &RawCost, node: &RawNode, folder: &Path) -> Checked<CostModel> {
    const TFLOPS: &str = "node.accelerator_tflops";
    const BANDWIDTH: &str = "node.accelerator_bandwidth_gb_per_s";
    let accelerators = f64::from(node.accelerators);
    let arithmetic = || {
        let because = "the cost model needs the speed of the arithmetic, and no `device` gives it";
        let tflops = speed(node, TFLOPS, node.accelerator_tflops, |device| device.tflops, because)?;
        Ok(FlopPerSecond::new(accelerators * tflops * 1e12))
    };
    match raw.model {
        RawCostModel::Flops => {
            let because = "the cost model `flops` counts attention in one of two ways";
            let attention = match raw.attention.ok_or_else(|| missing("cost.attention", because))? {
                RawAttention::Full => Attention::Full,
                RawAttention::Causal => Attention::Causal,
            };
            Ok(CostModel::Flops(FlopsCost { speed: arithmetic()?, attention }))
        }
        RawCostModel::Roofline => {
            let because = "the cost model `roofline` needs the memory's speed";
            let own = node.accelerator_bandwidth_gb_per_s;
            let of_device = |device: &Device| Some(device.bandwidth_gb_per_s);
            let gb_per_s = speed(node, BANDWIDTH, own, of_device, because)?;
            let bandwidth = BytesPerSecond::new(accelerators * gb_per_s * 1e9);
            Ok(CostModel::Roofline(RooflineCost { speed: arithmetic()?, bandwidth }))
        }
        RawCostModel::Measured => {
            let because = "the cost model `measured` reads what `hedgerow profile` saved";
            let profile = raw.profile.as_ref().ok_or_else(|| missing("cost.profile", because))?;
            measured(&folder.join(profile)).map(CostModel::Measured)
        }
    }
}

/// Reads the step times of a profile.
fn measured(path: &Path) -> Checked<MeasuredCost> {
    let unusable = |why: String| ScenarioError::File { key: "cost.profile", path: path.to_owned(), why };
    let text = read_text(path).map_err(|error| unusable(error.to_string()))?;
    let mut profile: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    let format = profile["format"].as_str().unwrap_or_default();
    if format != PROFILE_FORMAT {
        return Err(unusable(format!("its format is `{format}`, not `{PROFILE_FORMAT}`")));
    }
    serde_json::from_value(profile["cost"].take()).map_err(|error| unusable(format!("in `cost`: {error}")))
}
