//! The file as written: every key optional, every unit in its name.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) server: RawServer,
    pub(super) access: RawAccess,
    pub(super) limits: RawLimits,
    pub(super) model: RawModel,
    pub(super) engine: RawEngine,
    pub(super) planning: RawPlanning,
    pub(super) link: RawLink,
    pub(super) sampling: RawSampling,
    pub(super) batch: RawBatch,
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    pub(super) host: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) tls_certificate: Option<String>,
    pub(super) tls_key: Option<String>,
    /// The old name of `limits.body_mib`.
    pub(super) max_body_mib: Option<f64>,
    /// The old name of `limits.body_timeout_s`.
    pub(super) body_timeout_s: Option<f64>,
    pub(super) shutdown_grace_s: Option<f64>,
    pub(super) allowed_hosts: Option<String>,
    pub(super) allowed_origins: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAccess {
    pub(super) keys_file: Option<String>,
    pub(super) anonymous_value_max: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) connections: Option<i64>,
    pub(super) connections_per_peer: Option<i64>,
    pub(super) header_timeout_s: Option<f64>,
    pub(super) header_kib: Option<i64>,
    pub(super) body_mib: Option<f64>,
    pub(super) body_timeout_s: Option<f64>,
    pub(super) body_kib_per_s: Option<f64>,
    pub(super) waiting_mib: Option<f64>,
    pub(super) write_timeout_s: Option<f64>,
    pub(super) stop_texts: Option<i64>,
    pub(super) stop_text_bytes: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawModel {
    pub(super) name: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) quality: Option<f64>,
    pub(super) also: Option<String>,
    pub(super) weights_gb: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEngine {
    pub(super) parallel: Option<i64>,
    pub(super) ctx_size: Option<i64>,
    pub(super) retained: Option<i64>,
    pub(super) threads: Option<i64>,
    pub(super) ubatch_size: Option<i64>,
    pub(super) prefill_chunk: Option<i64>,
    pub(super) kv_type: Option<String>,
    pub(super) gpu_layers: Option<String>,
    pub(super) device: Option<String>,
    pub(super) kernels: Option<String>,
    pub(super) cpu_variant: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPlanning {
    pub(super) policy: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) epoch_ms: Option<f64>,
    pub(super) max_queue: Option<i64>,
    pub(super) default_deadline_ms: Option<f64>,
    pub(super) margin: Option<f64>,
    pub(super) confidence: Option<f64>,
    pub(super) best_effort_share: Option<f64>,
    pub(super) node_limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLink {
    pub(super) downlink_kbps: Option<i64>,
    pub(super) uplink_kbps: Option<i64>,
    pub(super) least_kbps: Option<i64>,
    pub(super) bytes_per_token: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSampling {
    pub(super) max_tokens: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) top_p: Option<f64>,
    pub(super) min_p: Option<f64>,
    pub(super) repeat_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) repeat_last_n: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBatch {
    pub(super) folder: Option<String>,
    pub(super) max_file_mib: Option<f64>,
    pub(super) max_lines: Option<i64>,
    pub(super) max_stored_mib: Option<f64>,
    pub(super) max_unfinished: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}
