//! The same metrics by vLLM's names, for dashboards and routers that know those.

use std::borrow::Cow;
use std::sync::atomic::AtomicU32;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::{KvGauge, Metrics};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FinishedLabels {
    pub(super) finished_reason: &'static str,
}

/// The part of the KV cache that is in use, worked out when it is read.
#[derive(Debug)]
struct KvUsage {
    tokens: KvGauge,
    capacity: Gauge<u32, AtomicU32>,
}

impl Collector for KvUsage {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let used = f64::from(self.tokens.get()) / f64::from(self.capacity.get().max(1));
        let help = "Part of the KV cache in use, 0 to 1";
        let encoder = encoder.encode_descriptor("vllm:kv_cache_usage_perc", help, None, MetricType::Gauge)?;
        ConstGauge::new(used).encode(encoder)
    }
}

/// The metrics under vLLM's names, with its labels.
pub(super) fn registry(metrics: &Metrics, model: &str) -> Registry {
    let label = |name, value| (Cow::Borrowed(name), value);
    let labels = [label("model_name", Cow::Owned(model.to_owned())), label("engine", Cow::Borrowed("0"))];
    let mut registry = Registry::with_labels(labels.into_iter());
    registry.register("vllm:num_requests_running", "Requests running now", metrics.running.clone());
    registry.register("vllm:num_requests_waiting", "Requests waiting now", metrics.waiting.clone());
    let (tokens, capacity) = (metrics.kv_tokens.clone(), metrics.kv_capacity.clone());
    registry.register_collector(Box::new(KvUsage { tokens, capacity }));
    let help = "Prompt tokens of requests that started";
    registry.register("vllm:prompt_tokens", help, metrics.prompt_tokens.clone());
    registry.register("vllm:generation_tokens", "Tokens produced", metrics.generation_tokens.clone());
    let help = "Complete answers. finished_reason: stop or length";
    registry.register("vllm:request_success", help, metrics.finished.clone());
    let help = "Prompt tokens of started requests that use the prefix cache";
    registry.register("vllm:prefix_cache_queries", help, metrics.prefix_queries.clone());
    let help = "Prompt tokens that were in the prefix cache";
    registry.register("vllm:prefix_cache_hits", help, metrics.prefix_hits.clone());
    let help = "Prompt tokens of complete answers";
    registry.register("vllm:request_prompt_tokens", help, metrics.request_prompt.clone());
    let help = "Tokens of complete answers";
    registry.register("vllm:request_generation_tokens", help, metrics.request_generation.clone());
    for (name, help, histogram) in [
        ("vllm:time_to_first_token", "First token - arrival", &metrics.ttft),
        ("vllm:inter_token_latency", "Each gap between two tokens of a request", &metrics.itl),
        ("vllm:e2e_request_latency", "Last token - arrival, of complete answers", &metrics.e2e),
        ("vllm:request_queue_time", "Start - arrival", &metrics.queue_time),
    ] {
        registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    }
    registry
}
