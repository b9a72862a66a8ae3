//! The file as written: every unit in its key's name.

use serde::Deserialize;

use super::ScenarioError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) requests: Option<u64>,
    pub(super) duration_s: Option<f64>,
    pub(super) node: RawNode,
    pub(super) model: RawModel,
    pub(super) precision: Vec<RawPrecision>,
    pub(super) cost: RawCost,
    pub(super) radio: Option<RawRadio>,
    pub(super) users: RawUsers,
    pub(super) protocol: RawProtocol,
    pub(super) planning: RawPlanning,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub(super) memory_gb: f64,
    pub(super) accelerators: u32,
    pub(super) accelerator_tflops: f64,
    pub(super) accelerator_bandwidth_gb_per_s: Option<f64>,
    pub(super) resident: Vec<String>,
    pub(super) max_parallel: u32,
    pub(super) context_tokens: u32,
    pub(super) prefill_chunk_tokens: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPrecision {
    pub(super) name: String,
    pub(super) alpha: f64,
    pub(super) beta_prefill: f64,
    pub(super) beta_decode: f64,
    pub(super) quality: Option<f64>,
    pub(super) perplexity: Option<f64>,
    pub(super) perplexity_reference: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCost {
    pub(super) model: RawCostModel,
    pub(super) attention: Option<RawAttention>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawCostModel {
    Flops,
    Roofline,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawAttention {
    Full,
    Causal,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRadio {
    pub(super) uplink_bandwidth_mhz: f64,
    pub(super) downlink_bandwidth_mhz: f64,
    pub(super) user_power_dbm: f64,
    pub(super) node_power_dbm: f64,
    pub(super) noise_dbm_per_hz: f64,
    pub(super) uplink_slot_ms: f64,
    pub(super) downlink_slot_ms: f64,
    pub(super) bits_per_token: f64,
    pub(super) min_distance_m: f64,
    pub(super) cell_radius_m: f64,
    pub(super) fading: RawFading,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawFading {
    None,
    Rayleigh,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUsers {
    pub(super) rate_per_s: f64,
    pub(super) prompt_tokens: Vec<u32>,
    pub(super) output_tokens: Vec<u32>,
    pub(super) answer_part: [f64; 2],
    pub(super) deadline_s: Option<[f64; 2]>,
    pub(super) min_quality: [f64; 2],
    pub(super) patience_s: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProtocol {
    pub(super) kind: RawProtocolKind,
    pub(super) epoch_ms: Option<f64>,
    pub(super) compute_slot_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawProtocolKind {
    Epoch,
    Continuous,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlanning {
    pub(super) policy: String,
    pub(super) margin: f64,
    pub(super) confidence: f64,
    pub(super) best_effort_share: f64,
    pub(super) queue_capacity: u32,
    pub(super) node_limit: u64,
    pub(super) padding: RawPadding,
    pub(super) padding_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawPadding {
    None,
    BatchMax,
    Fixed,
}

/// Reads the file's text.
///
/// # Errors
///
/// When it is not TOML or does not have this form.
pub(super) fn parse(text: &str) -> Result<Raw, ScenarioError> {
    let line_of =
        |error: &toml::de::Error| error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    let document = toml::Deserializer::parse(text).map_err(|error| ScenarioError::Form {
        key: None,
        line: line_of(&error),
        message: error.message().to_owned(),
    })?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        ScenarioError::from_toml(&key, error.inner().message(), line_of(error.inner()))
    })
}
