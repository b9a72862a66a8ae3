//! From the raw form to the checked one: units become SI, nonsense becomes an error.

use hedgerow_core::allocator::{Channel, Radio};
use hedgerow_core::engine::CostModel;
use hedgerow_core::engine::cost::{Attention, FlopsCost, RooflineCost};
use hedgerow_core::node::{ModelShape, Node};
use hedgerow_core::quantization::{Precision, Residency, quality_by_perplexity};
use hedgerow_core::scheduler::Policy;
use hedgerow_core::settings::{Padding, Protocol, Settings};
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bytes, BytesPerSecond, FlopPerSecond, Hertz, Quality, Tokens, Watts};

use super::error::Place;
use super::raw::{
    Raw, RawAttention, RawCost, RawCostModel, RawFading, RawNode, RawPadding, RawPlanning, RawPrecision,
    RawProtocol, RawProtocolKind, RawRadio, RawUsers,
};
use super::{Extent, Range, Scenario, ScenarioError, Users};
use crate::channel::{Cell, Fading};
use crate::models;

type Checked<T> = Result<T, ScenarioError>;

pub(super) fn scenario(raw: Raw) -> Checked<Scenario> {
    let accelerators = at_least_one("node.accelerators", raw.node.accelerators)?;
    let users = users(&raw.users)?;
    let radio = raw.radio.as_ref().map(radio).transpose()?;
    let scenario = Scenario {
        extent: extent(&raw)?,
        settings: Settings {
            protocol: protocol(&raw.protocol, radio.as_ref())?,
            policy: policy(&raw.planning.policy, accelerators)?,
            queue_capacity: at_least_one("planning.queue_capacity", raw.planning.queue_capacity)? as usize,
            node_limit: raw.planning.node_limit,
            margin: not_negative("planning.margin", raw.planning.margin)?,
            confidence: within(
                "planning.confidence",
                raw.planning.confidence,
                0.5..=1.0,
                "a number from 0.5 to 1",
            )?,
            best_effort_share: within(
                "planning.best_effort_share",
                raw.planning.best_effort_share,
                0.0..=0.9,
                "a number from 0 to 0.9",
            )?,
            padding: padding(&raw.planning)?,
        },
        cell: raw.radio.as_ref().map(cell).transpose()?,
        node: node(&raw, radio)?,
        name: raw.name,
        seed: raw.seed,
        accelerators,
        users,
    };
    padded_prompts_fit(&scenario)?;
    Ok(scenario)
}

/// Reads a policy; `none` alone means one request on each of the node's accelerators.
pub(super) fn policy(name: &str, accelerators: u32) -> Checked<Policy> {
    if name == "none" {
        return Ok(Policy::None { accelerators });
    }
    name.parse().map_err(|source| ScenarioError::Policy { source })
}

fn extent(raw: &Raw) -> Checked<Extent> {
    match (raw.requests, raw.duration_s) {
        (Some(requests), None) => Ok(Extent::Requests(requests)),
        (None, Some(duration_s)) => {
            Ok(Extent::Duration(Span::from_seconds(positive("duration_s", duration_s)?)))
        }
        (Some(_), Some(_)) => {
            Err(ScenarioError::Conflict { key: "requests".into(), other: "duration_s".into() })
        }
        (None, None) => Err(missing("requests", "a scenario ends after `requests` or `duration_s`")),
    }
}

fn node(raw: &Raw, radio: Option<Radio>) -> Checked<Node> {
    let name = &raw.model.name;
    let model = models::shape(name)
        .ok_or_else(|| unknown("model", name, "model.name", models::names().map(str::to_owned)))?;
    let node = Node {
        memory: Bytes((positive("node.memory_gb", raw.node.memory_gb)? * 1e9) as u64),
        model,
        precisions: resident(raw, &model)?,
        weights_limit: None,
        cost: cost(&raw.cost, &raw.node)?,
        max_parallel: at_least_one("node.max_parallel", raw.node.max_parallel)?,
        context: Tokens(at_least_one("node.context_tokens", raw.node.context_tokens)?),
        prefill_chunk: Tokens(at_least_one("node.prefill_chunk_tokens", raw.node.prefill_chunk_tokens)?),
        radio,
        wire: None,
    };
    let weights: Bytes = node.precisions.iter().map(|precision| precision.weights).sum();
    if weights >= node.memory {
        return Err(ScenarioError::NoMemory { weights, memory: node.memory });
    }
    Ok(node)
}

fn resident(raw: &Raw, model: &ModelShape) -> Checked<Vec<Precision>> {
    if raw.node.resident.is_empty() {
        return Err(value("node.resident", "[]", "a list of one or more precisions"));
    }
    let by_name = |name: &String| {
        let known = raw.precision.iter().map(|precision| precision.name.clone());
        let raw = raw.precision.iter().find(|precision| precision.name == *name);
        precision(raw.ok_or_else(|| unknown("precision", name, "node.resident", known))?, model)
    };
    raw.node.resident.iter().map(by_name).collect()
}

fn precision(raw: &RawPrecision, model: &ModelShape) -> Checked<Precision> {
    let key = |key: &str| format!("precision.{}.{key}", raw.name);
    let weights = model.weights_16_bit().0 as f64 * positive(key("alpha"), raw.alpha)?;
    let quality = match (raw.quality, raw.perplexity, raw.perplexity_reference) {
        (Some(quality), None, None) => {
            Quality::new(quality).ok_or_else(|| value(key("quality"), quality, "a number from 0 to 1"))?
        }
        (None, Some(perplexity), Some(reference)) => quality_by_perplexity(
            positive(key("perplexity_reference"), reference)?,
            positive(key("perplexity"), perplexity)?,
        ),
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
        beta_prefill: positive(key("beta_prefill"), raw.beta_prefill)?,
        beta_decode: positive(key("beta_decode"), raw.beta_decode)?,
        quality,
        residency: Residency::Always,
        measured: None,
    })
}

/// The cost model; its speeds are the node's, all accelerators together.
fn cost(raw: &RawCost, node: &RawNode) -> Checked<CostModel> {
    let accelerators = f64::from(node.accelerators);
    let tflops = positive("node.accelerator_tflops", node.accelerator_tflops)?;
    let speed = FlopPerSecond::new(accelerators * tflops * 1e12);
    match raw.model {
        RawCostModel::Flops => {
            let because = "the cost model `flops` counts attention in one of two ways";
            let attention = match raw.attention.ok_or_else(|| missing("cost.attention", because))? {
                RawAttention::Full => Attention::Full,
                RawAttention::Causal => Attention::Causal,
            };
            Ok(CostModel::Flops(FlopsCost { speed, attention }))
        }
        RawCostModel::Roofline => {
            const KEY: &str = "node.accelerator_bandwidth_gb_per_s";
            let because = "the cost model `roofline` needs the memory's speed";
            let gb_per_s = node.accelerator_bandwidth_gb_per_s.ok_or_else(|| missing(KEY, because))?;
            let bandwidth = BytesPerSecond::new(accelerators * positive(KEY, gb_per_s)? * 1e9);
            Ok(CostModel::Roofline(RooflineCost { speed, bandwidth }))
        }
    }
}

fn radio(raw: &RawRadio) -> Checked<Radio> {
    let noise_dbm_per_hz = finite("radio.noise_dbm_per_hz", raw.noise_dbm_per_hz)?;
    let channel = |bandwidth_key, bandwidth_mhz, power_key, power_dbm| {
        Ok(Channel {
            bandwidth: Hertz::new(positive(bandwidth_key, bandwidth_mhz)? * 1e6),
            transmit_power: Watts::new(watts(finite(power_key, power_dbm)?)),
            noise_density_w_per_hz: watts(noise_dbm_per_hz),
        })
    };
    Ok(Radio {
        uplink: channel(
            "radio.uplink_bandwidth_mhz",
            raw.uplink_bandwidth_mhz,
            "radio.user_power_dbm",
            raw.user_power_dbm,
        )?,
        downlink: channel(
            "radio.downlink_bandwidth_mhz",
            raw.downlink_bandwidth_mhz,
            "radio.node_power_dbm",
            raw.node_power_dbm,
        )?,
        uplink_slot: millis("radio.uplink_slot_ms", raw.uplink_slot_ms)?,
        downlink_slot: millis("radio.downlink_slot_ms", raw.downlink_slot_ms)?,
    })
}

fn cell(raw: &RawRadio) -> Checked<Cell> {
    let min_distance_m = positive("radio.min_distance_m", raw.min_distance_m)?;
    let radius_m = positive("radio.cell_radius_m", raw.cell_radius_m)?;
    if radius_m < min_distance_m {
        return Err(value("radio.cell_radius_m", radius_m, "at least `radio.min_distance_m`"));
    }
    Ok(Cell {
        min_distance_m,
        radius_m,
        fading: match raw.fading {
            RawFading::None => Fading::None,
            RawFading::Rayleigh => Fading::Rayleigh,
        },
        bits_per_token: not_negative("radio.bits_per_token", raw.bits_per_token)?,
    })
}

fn users(raw: &RawUsers) -> Checked<Users> {
    let lengths = |key: &'static str, lengths: &[u32]| {
        if lengths.is_empty() || lengths.contains(&0) {
            return Err(value(key, format!("{lengths:?}"), "a list of one or more numbers of at least 1"));
        }
        Ok(lengths.iter().copied().map(Tokens).collect())
    };
    Ok(Users {
        rate_per_s: positive("users.rate_per_s", raw.rate_per_s)?,
        prompts: lengths("users.prompt_tokens", &raw.prompt_tokens)?,
        outputs: lengths("users.output_tokens", &raw.output_tokens)?,
        answer_part: range("users.answer_part", raw.answer_part, Some(1.0))?,
        deadline_s: raw.deadline_s.map(|both| range("users.deadline_s", both, None)).transpose()?,
        min_quality: range("users.min_quality", raw.min_quality, Some(1.0))?,
        patience_s: raw.patience_s.map(|both| range("users.patience_s", both, None)).transpose()?,
    })
}

fn protocol(raw: &RawProtocol, radio: Option<&Radio>) -> Checked<Protocol> {
    match raw.kind {
        RawProtocolKind::Continuous => Ok(Protocol::Continuous),
        RawProtocolKind::Epoch => {
            let because = "the protocol `epoch` cuts time into epochs";
            let epoch_ms = raw.epoch_ms.ok_or_else(|| missing("protocol.epoch_ms", because))?;
            let length = millis("protocol.epoch_ms", epoch_ms)?;
            let on_the_air = radio.map_or(Span::ZERO, |radio| radio.uplink_slot + radio.downlink_slot);
            let compute_slot = match raw.compute_slot_ms {
                Some(slot_ms) => millis("protocol.compute_slot_ms", slot_ms)?,
                None => length.saturating_sub(on_the_air),
            };
            if compute_slot == Span::ZERO || on_the_air + compute_slot > length {
                let must_be = "more than both radio slots, and no less than they and `compute_slot_ms`";
                return Err(value("protocol.epoch_ms", epoch_ms, must_be));
            }
            Ok(Protocol::Epoch { length, compute_slot })
        }
    }
}

fn padding(raw: &RawPlanning) -> Checked<Padding> {
    match (raw.padding, raw.padding_tokens) {
        (RawPadding::None, None) => Ok(Padding::None),
        (RawPadding::BatchMax, None) => Ok(Padding::BatchMax),
        (RawPadding::Fixed, Some(tokens)) => {
            Ok(Padding::Fixed(Tokens(at_least_one("planning.padding_tokens", tokens)?)))
        }
        (RawPadding::Fixed, None) => {
            Err(missing("planning.padding_tokens", "the padding `fixed` needs a length"))
        }
        (RawPadding::None | RawPadding::BatchMax, Some(_)) => Err(ScenarioError::Conflict {
            key: "planning.padding_tokens".into(),
            other: "planning.padding".into(),
        }),
    }
}

/// An engine opens a padded prompt, so whatever a prompt may be padded to must fit beside any output.
fn padded_prompts_fit(scenario: &Scenario) -> Checked<()> {
    let longest = |lengths: &[Tokens]| lengths.iter().copied().max().expect("never empty");
    let prompt = longest(&scenario.users.prompts);
    let prompt = match scenario.settings.padding {
        // Prompts too long for the context are refused one by one, as they should be.
        Padding::None => return Ok(()),
        Padding::BatchMax => prompt,
        Padding::Fixed(length) => length.max(prompt),
    };
    let (output, context) = (longest(&scenario.users.outputs), scenario.node.context);
    if prompt + output > context {
        return Err(ScenarioError::PaddingTooLong { prompt, output, context });
    }
    Ok(())
}

/// Decibels over a milliwatt in watts.
fn watts(dbm: f64) -> f64 {
    10_f64.powf((dbm - 30.0) / 10.0)
}

fn millis(key: &'static str, millis: f64) -> Checked<Span> {
    Ok(Span::from_seconds(positive(key, millis)? / 1e3))
}

pub(super) fn positive(key: impl Into<String>, number: f64) -> Checked<f64> {
    if number > 0.0 && number.is_finite() {
        return Ok(number);
    }
    Err(value(key, number, "a number above 0"))
}

fn not_negative(key: &'static str, number: f64) -> Checked<f64> {
    if number >= 0.0 && number.is_finite() {
        return Ok(number);
    }
    Err(value(key, number, "a number of at least 0"))
}

fn within(
    key: &'static str,
    number: f64,
    range: std::ops::RangeInclusive<f64>,
    must_be: &'static str,
) -> Checked<f64> {
    if range.contains(&number) { Ok(number) } else { Err(value(key, number, must_be)) }
}

fn finite(key: &'static str, number: f64) -> Checked<f64> {
    if number.is_finite() { Ok(number) } else { Err(value(key, number, "a finite number")) }
}

fn at_least_one(key: &'static str, number: u32) -> Checked<u32> {
    if number > 0 { Ok(number) } else { Err(value(key, number, "at least 1")) }
}

fn range(key: &'static str, [least, most]: [f64; 2], limit: Option<f64>) -> Checked<Range> {
    let is_within = least >= 0.0 && least <= most && most <= limit.unwrap_or(f64::MAX);
    if is_within {
        return Ok(Range { least, most });
    }
    let must_be = match limit {
        None => "two numbers of at least 0, the smaller one first",
        Some(_) => "two numbers from 0 to 1, the smaller one first",
    };
    Err(value(key, format!("[{least}, {most}]"), must_be))
}

fn value(key: impl Into<String>, value: impl ToString, must_be: &'static str) -> ScenarioError {
    ScenarioError::Value { key: key.into(), value: value.to_string(), must_be }
}

fn missing(key: impl Into<String>, because: &'static str) -> ScenarioError {
    ScenarioError::Missing { key: key.into(), because }
}

fn unknown(
    what: &'static str,
    name: &str,
    key: &'static str,
    known: impl Iterator<Item = String>,
) -> ScenarioError {
    ScenarioError::Unknown { what, name: name.to_owned(), place: Place::Key(key), known: known.collect() }
}
