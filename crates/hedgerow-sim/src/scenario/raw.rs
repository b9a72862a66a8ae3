//! The file as written: every unit in its key's name. Each key has a row in `data/keys.csv`, which a test compares.

use std::path::PathBuf;

use hedgerow_workload::RateBy;
use serde::Deserialize;

use super::ScenarioError;
use crate::channel::{PathLoss, Sight};

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
    #[serde(default)]
    pub(super) class: Vec<RawClass>,
    pub(super) arrivals: Option<RawArrivals>,
    pub(super) knowledge: Option<RawKnowledge>,
    pub(super) protocol: RawProtocol,
    pub(super) planning: RawPlanning,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub(super) device: Option<String>,
    pub(super) memory_gb: Option<f64>,
    pub(super) accelerators: u32,
    pub(super) accelerator_tflops: Option<f64>,
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
    pub(super) profile: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawCostModel {
    Flops,
    Roofline,
    Measured,
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
    pub(super) fading_step_ms: Option<f64>,
    pub(super) rician_k_db: Option<f64>,
    pub(super) rician_k_sigma_db: Option<f64>,
    pub(super) path_loss: Option<PathLoss>,
    pub(super) carrier_ghz: Option<f64>,
    pub(super) node_height_m: Option<f64>,
    pub(super) user_height_m: Option<f64>,
    pub(super) line_of_sight: Option<Sight>,
    pub(super) shadowing_db: Option<f64>,
    pub(super) shadowing_distance_m: Option<f64>,
    pub(super) walkers: Option<u32>,
    pub(super) speed_km_h: Option<f64>,
    pub(super) coding: Option<RawCoding>,
    pub(super) snr_gap_db: Option<f64>,
    pub(super) payload_part: Option<f64>,
    pub(super) uplink_power_over: Option<RawPowerOver>,
    pub(super) node_noise_figure_db: Option<f64>,
    pub(super) user_noise_figure_db: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawFading {
    None,
    Rayleigh,
    Rician,
    Jakes,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawCoding {
    Shannon,
    Cqi,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawPowerOver {
    Band,
    Share,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUsers {
    pub(super) rate_per_s: f64,
    pub(super) prompt_tokens: RawLengths,
    pub(super) output_tokens: RawLengths,
    pub(super) answer_part: [f64; 2],
    pub(super) deadline_s: Option<[f64; 2]>,
    pub(super) min_quality: [f64; 2],
    pub(super) patience_s: Option<[f64; 2]>,
    pub(super) length_correlation: Option<f64>,
    pub(super) value: Option<u32>,
    pub(super) payload_bytes: Option<[f64; 2]>,
    pub(super) answer_bytes: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClass {
    pub(super) name: String,
    pub(super) weight: f64,
    pub(super) prompt_tokens: Option<RawLengths>,
    pub(super) output_tokens: Option<RawLengths>,
    pub(super) answer_part: Option<[f64; 2]>,
    pub(super) deadline_s: Option<[f64; 2]>,
    pub(super) min_quality: Option<[f64; 2]>,
    pub(super) patience_s: Option<[f64; 2]>,
    pub(super) length_correlation: Option<f64>,
    pub(super) value: Option<u32>,
    pub(super) payload_bytes: Option<[f64; 2]>,
    pub(super) answer_bytes: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a list of lengths, `{ least = 24, most = 48 }` or \
                 `{ median = 300, sigma = 0.8, most = 4096 }`"
)]
pub(super) enum RawLengths {
    OneOf(Vec<u32>),
    Uniform { least: u32, most: u32 },
    LogNormal { median: f64, sigma: f64, most: u32 },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArrivals {
    pub(super) process: RawProcess,
    pub(super) cv: Option<f64>,
    pub(super) on_s: Option<f64>,
    pub(super) off_s: Option<f64>,
    pub(super) period_s: Option<f64>,
    pub(super) amplitude: Option<f64>,
    pub(super) peak_s: Option<f64>,
    pub(super) trace: Option<PathBuf>,
    pub(super) start_s: Option<f64>,
    pub(super) rate_by: Option<RateBy>,
    pub(super) scale_prompt: Option<f64>,
    pub(super) scale_output: Option<f64>,
    pub(super) max_prompt_tokens: Option<u32>,
    pub(super) max_output_tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawProcess {
    Poisson,
    Gamma,
    OnOff,
    Diurnal,
    Trace,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKnowledge {
    pub(super) output_length: Option<RawOutputLength>,
    pub(super) hint_factor: Option<f64>,
    pub(super) hint_sigma: Option<f64>,
    pub(super) engine_factor: Option<f64>,
    pub(super) channel_error_db: Option<f64>,
    pub(super) channel_delay_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOutputLength {
    Limit,
    Oracle,
    Hint,
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

/// Parses the file's text.
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
