//! The Prometheus metrics at `/metrics`. Names follow vLLM's, with hedgerow's prefix; each is defined in
//! `docs/reference/metrics.md`.

mod vllm;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64};

use hedgerow_core::allocator::Share;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::scheduler::calibration::StepTimeCalibration;
use hedgerow_core::time::Span;
use hedgerow_core::units::{BitsPerSecond, Tokens};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::kernels::Chosen;
use vllm::FinishedLabels;

/// vLLM's histogram buckets for TTFT, in seconds.
const TTFT_S: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const ITL_S: [f64; 14] = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5];
const E2E_S: [f64; 14] = [0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0];
const PLAN_S: [f64; 11] = [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1];
const UPLINK_S: [f64; 12] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
/// vLLM's buckets for lengths, in tokens.
const TOKENS: [f64; 16] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0,
    50_000.0, 100_000.0,
];
const BATCH: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PrecisionLabels {
    precision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KernelLabels {
    precision: String,
    kernels: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

/// Tokens in the KV cache; updated by the engine thread.
pub type KvGauge = Gauge<u32, AtomicU32>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: String,
    outcome: &'static str,
}

/// The metrics of connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    open: Gauge,
    refused: Family<LimitLabels, Counter>,
    sent_bytes: Counter,
}

/// An open connection, counted until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl ConnectionMetrics {
    /// Counts a connection as open.
    pub fn open(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// Counts a connection that was closed for a limit.
    pub fn refused(&self, limit: &'static str) {
        self.refused.get_or_create(&LimitLabels { limit }).inc();
    }

    /// The number of open connections.
    pub fn open_count(&self) -> i64 {
        self.open.get()
    }

    /// The counter of bytes sent to callers.
    pub fn sent_bytes(&self) -> Counter {
        self.sent_bytes.clone()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// All metrics of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The same metrics by vLLM's names, once the model's name is known.
    vllm: OnceLock<Registry>,
    finished: Family<FinishedLabels, Counter>,
    error_responses: Family<CodeLabels, Counter>,
    key_requests: Family<KeyLabels, Counter>,
    request_prompt: Histogram,
    request_generation: Histogram,
    requests: Family<OutcomeLabels, Counter>,
    resident: Family<PrecisionLabels, Gauge>,
    loads: Family<PrecisionLabels, Counter>,
    starts: Family<PrecisionLabels, Counter>,
    kernels: Family<KernelLabels, Gauge>,
    waiting: Gauge,
    running: Gauge,
    kv_tokens: KvGauge,
    kv_capacity: Gauge<u32, AtomicU32>,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    prefix_queries: Counter,
    prefix_hits: Counter,
    ttft: Histogram,
    itl: Histogram,
    e2e: Histogram,
    queue_time: Histogram,
    slack: Histogram,
    plan_duration: Histogram,
    plan_nodes: Counter,
    batch_size: Histogram,
    predicted_wait: Gauge<f64, AtomicU64>,
    uplink_bytes: Counter,
    uplink: Histogram,
    uplink_rate: Gauge<f64, AtomicU64>,
    connections: ConnectionMetrics,
    downlink_share: Gauge<f64, AtomicU64>,
    calibration: Gauge<f64, AtomicU64>,
    margin: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hedgerow");
        let histogram = |buckets: &[f64]| Histogram::new(buckets.iter().copied());
        let metrics = Self {
            vllm: OnceLock::new(),
            finished: Family::default(),
            error_responses: Family::default(),
            key_requests: Family::default(),
            request_prompt: histogram(&TOKENS),
            request_generation: histogram(&TOKENS),
            requests: Family::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            kv_tokens: Gauge::default(),
            kv_capacity: Gauge::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            prefix_queries: Counter::default(),
            prefix_hits: Counter::default(),
            ttft: histogram(&TTFT_S),
            itl: histogram(&ITL_S),
            e2e: histogram(&E2E_S),
            queue_time: histogram(&E2E_S),
            slack: histogram(&E2E_S),
            plan_duration: histogram(&PLAN_S),
            plan_nodes: Counter::default(),
            batch_size: histogram(&BATCH),
            predicted_wait: Gauge::default(),
            uplink_bytes: Counter::default(),
            uplink: histogram(&UPLINK_S),
            uplink_rate: Gauge::default(),
            connections: ConnectionMetrics::default(),
            downlink_share: Gauge::default(),
            calibration: Gauge::default(),
            margin: Gauge::default(),
            resident: Family::default(),
            loads: Family::default(),
            starts: Family::default(),
            kernels: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "requests",
            "Requests that have ended. outcome: met, late, expired (cut off at its deadline), rejected, cancelled, failed, \
             shut_down; reason: the refusal's code, or why the answer ended",
            metrics.requests.clone(),
        );
        let help = "Error responses to completions, by the error's code; those that the node never saw are in no other metric";
        registry.register("error_responses", help, metrics.error_responses.clone());
        let help = "1 while a precision is in memory, 0 while it is not";
        registry.register("precision_resident", help, metrics.resident.clone());
        registry.register(
            "precision_loads",
            "Times that a precision was loaded while serving",
            metrics.loads.clone(),
        );
        let help = "Requests that started, by the precision they run at";
        registry.register("precision_requests", help, metrics.starts.clone());
        let help = "1. kernels: fast or plain; reason: checked, asked (--kernels plain), or why the fast ones or the devices are not used: \
                    signal, not_a_number, wrong_numbers, timed_out, killed, not_loaded, not_run";
        registry.register("kernels_info", help, metrics.kernels.clone());
        registry.register("num_requests_waiting", "Requests waiting now", metrics.waiting.clone());
        registry.register("num_requests_running", "Requests running now", metrics.running.clone());
        registry.register(
            "kv_cache_tokens",
            "Tokens in the KV cache now, without retained tokens of ended requests",
            metrics.kv_tokens.clone(),
        );
        registry.register(
            "kv_cache_capacity_tokens",
            "Capacity of the KV cache in tokens",
            metrics.kv_capacity.clone(),
        );
        registry.register(
            "prompt_tokens",
            "Prompt tokens of requests that started",
            metrics.prompt_tokens.clone(),
        );
        registry.register("generation_tokens", "Tokens produced", metrics.generation_tokens.clone());
        registry.register(
            "prefix_cache_queries",
            "Prompt tokens of started requests that use the prefix cache",
            metrics.prefix_queries.clone(),
        );
        registry.register(
            "prefix_cache_hits",
            "Prompt tokens that were in the prefix cache; over the queries, the hit rate",
            metrics.prefix_hits.clone(),
        );
        let mut seconds = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds("time_to_first_token", "First token - arrival", &metrics.ttft);
        seconds("inter_token_latency", "Each gap between two tokens of a request", &metrics.itl);
        seconds("e2e_request_latency", "Last token - arrival, of complete answers", &metrics.e2e);
        seconds("request_queue_time", "Start - arrival", &metrics.queue_time);
        seconds(
            "deadline_slack",
            "Deadline - last token, of requests that met their deadline",
            &metrics.slack,
        );
        seconds("plan_duration", "One decision, from the event to its orders", &metrics.plan_duration);
        seconds(
            "uplink",
            "Time from a request's arrival until its body had arrived or was given up",
            &metrics.uplink,
        );
        registry.register(
            "plan_nodes_visited",
            "Tree nodes that the scheduler visited",
            metrics.plan_nodes.clone(),
        );
        registry.register("batch_size", "Requests in each step", metrics.batch_size.clone());
        registry.register_with_unit(
            "predicted_wait",
            "The retry time that a 429 would give now",
            Unit::Seconds,
            metrics.predicted_wait.clone(),
        );
        registry.register("uplink_bytes", "Bytes of request bodies", metrics.uplink_bytes.clone());
        let help =
            "Rate at which bodies arrive while any does, over all callers; without each body's first part";
        registry.register("uplink_bytes_per_second", help, metrics.uplink_rate.clone());
        registry.register(
            "downlink_bytes",
            "Bytes written to callers' connections, heads and /metrics included",
            metrics.connections.sent_bytes.clone(),
        );
        registry.register(
            "key_requests",
            "Requests of each API key that have ended, by outcome, refused ones included",
            metrics.key_requests.clone(),
        );
        registry.register("connections", "Open connections", metrics.connections.open.clone());
        registry.register(
            "connections_refused",
            "Connections that were closed for a limit. limit: connections (all were busy), connections_per_peer, or evicted \
             (idle longest when all were taken)",
            metrics.connections.refused.clone(),
        );
        let help =
            "Part of link.downlink_kbps held by running requests, 0 to 1; 0 if the downlink is not shared";
        registry.register("downlink_share_in_use", help, metrics.downlink_share.clone());
        let help =
            "Measured time of the latest steps over the time predicted; predictions are multiplied by it";
        registry.register("step_time_ratio", help, metrics.calibration.clone());
        let help = "Safety margin added to predicted times if it is more than planning.margin: the 90th percentile of how much slower \
                    than predicted the latest seconds were";
        registry.register("planning_margin", help, metrics.margin.clone());
        Self { registry, ..metrics }
    }

    /// Names the served model: from now on the metrics are there by vLLM's names too. Only the first name counts.
    pub fn name_model(&self, model: &str) {
        self.vllm.get_or_init(|| vllm::registry(self, model));
    }

    /// Encodes all metrics in a format.
    pub fn encode(&self, format: Format) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        if let Some(vllm) = self.vllm.get() {
            encode_registry(&mut text, vllm)?;
        }
        encode_eof(&mut text)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Text => as_text_format(&text),
        })
    }

    /// Records whether a precision is in memory.
    pub fn resident(&self, precision: &str, is_there: bool) {
        let labels = PrecisionLabels { precision: precision.to_owned() };
        self.resident.get_or_create(&labels).set(i64::from(is_there));
    }

    /// Records the kernels of a precision.
    pub fn kernels(&self, precision: &str, chosen: &Chosen) {
        let precision = precision.to_owned();
        let labels = KernelLabels { precision, kernels: chosen.kernels.name(), reason: chosen.reason };
        self.kernels.get_or_create(&labels).set(1);
    }

    /// Counts a precision that was loaded while serving.
    pub fn loaded(&self, precision: &str) {
        self.loads.get_or_create(&PrecisionLabels { precision: precision.to_owned() }).inc();
    }

    /// Counts an error response to a completion.
    pub fn error_response(&self, code: &'static str) {
        self.error_responses.get_or_create(&CodeLabels { code }).inc();
    }

    /// Counts the end of a request with a key. Names of keys come from the operator, so there are few.
    pub(crate) fn key_request(&self, key: &str, outcome: &'static str) {
        self.key_requests.get_or_create(&KeyLabels { key: key.to_owned(), outcome }).inc();
    }

    /// Counts a request that starts at a precision.
    pub fn started(&self, precision: &str) {
        self.starts.get_or_create(&PrecisionLabels { precision: precision.to_owned() }).inc();
    }

    /// The gauge of tokens in the KV cache.
    pub(crate) fn kv_tokens(&self) -> KvGauge {
        self.kv_tokens.clone()
    }

    /// Tokens in the KV cache, and its capacity.
    pub fn kv(&self) -> (Tokens, Tokens) {
        (Tokens(self.kv_tokens.get()), Tokens(self.kv_capacity.get()))
    }

    /// Sets the capacity of the KV cache in tokens.
    pub(crate) fn set_kv_capacity(&self, tokens: u32) {
        self.kv_capacity.set(tokens);
    }

    /// Records an ended request.
    pub fn request(&self, record: &Record) {
        let labels = OutcomeLabels { outcome: record.outcome.name(), reason: reason(&record.outcome) };
        self.requests.get_or_create(&labels).inc();
        let observe = |histogram: &Histogram, span: Option<Span>| {
            if let Some(span) = span {
                histogram.observe(span.as_seconds());
            }
        };
        observe(&self.ttft, record.ttft());
        observe(&self.e2e, record.e2e());
        observe(&self.queue_time, record.queue_time());
        if record.started.is_some() {
            self.prompt_tokens.inc_by(u64::from(record.request.prompt_len.0));
        }
        if let Outcome::Met(_) | Outcome::Late(_) = record.outcome {
            self.finished.get_or_create(&FinishedLabels { finished_reason: labels.reason }).inc();
            self.request_prompt.observe(f64::from(record.request.prompt_len.0));
            self.request_generation.observe(f64::from(record.produced.0));
        }
        if record.is_met() {
            observe(&self.slack, record.request.deadline.map(|deadline| deadline.since(record.ended)));
        }
    }

    /// Records a prefix cache lookup of a request that started.
    pub fn prefix(&self, prompt: Tokens, cached: Tokens) {
        self.prefix_queries.inc_by(u64::from(prompt.0));
        self.prefix_hits.inc_by(u64::from(cached.0));
    }

    /// Records a token and its inter-token latency.
    pub fn token(&self, gap: Option<Span>) {
        self.generation_tokens.inc();
        if let Some(gap) = gap {
            self.itl.observe(gap.as_seconds());
        }
    }

    /// Sets the numbers of waiting and running requests, and the calibration of the cost model.
    pub fn state(&self, waiting: usize, running: usize, calibration: &StepTimeCalibration) {
        self.calibration.set(calibration.factor());
        self.margin.set(calibration.margin());
        self.waiting.set(waiting as i64);
        self.running.set(running as i64);
    }

    /// Records the duration of a scheduling decision.
    pub fn planning(&self, duration: Span) {
        self.plan_duration.observe(duration.as_seconds());
    }

    /// Records a plan.
    pub fn plan(&self, report: &PlanReport) {
        self.plan_nodes.inc_by(report.nodes);
        self.predicted_wait.set(report.retry_after.as_seconds());
    }

    /// Records the batch size of a step.
    pub fn step(&self, requests: usize) {
        self.batch_size.observe(requests as f64);
    }

    /// The metrics of connections.
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// Records the upload of a body, complete or timed out, and the estimated uplink rate.
    pub fn upload(&self, bytes: usize, took: Span, rate: Option<BitsPerSecond>) {
        self.uplink_bytes.inc_by(bytes as u64);
        self.uplink.observe(took.as_seconds());
        if let Some(rate) = rate {
            self.uplink_rate.set(rate.get() / 8.0);
        }
    }

    /// Sets the share of the downlink allocated to running requests.
    pub fn downlink(&self, held: Share) {
        self.downlink_share.set(held.fraction());
    }

    /// Time in seconds after which a refused request may retry, by the latest plan.
    pub fn predicted_wait_s(&self) -> f64 {
        self.predicted_wait.get()
    }
}

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, for clients that accept it, as Prometheus does.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, for all other clients.
    Text,
}

impl Format {
    /// Selects the format for an `accept` header.
    pub fn for_reader(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The content type of the format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Converts OpenMetrics to the older text format, which `promtool` reads: a counter is described by its full name,
/// `_total` included, and there are neither units nor an end mark.
fn as_text_format(open_metrics: &str) -> String {
    let counters: BTreeSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::new();
    for line in open_metrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let described =
            ["# HELP ", "# TYPE "].into_iter().find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
        match described.and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
            Some((mark, (name, rest))) if counters.contains(name) => {
                text += &format!("{mark}{name}_total {rest}\n");
            }
            Some(_) | None => text += &format!("{line}\n"),
        }
    }
    text
}

/// The reason of an outcome: the rejection's code or the engine's reason; empty where the outcome needs none.
pub fn reason(outcome: &Outcome) -> &'static str {
    use hedgerow_core::engine::EndReason;
    match outcome {
        Outcome::Met(EndReason::Stop | EndReason::StopText)
        | Outcome::Late(EndReason::Stop | EndReason::StopText) => "stop",
        Outcome::Met(EndReason::Length) | Outcome::Late(EndReason::Length) => "length",
        Outcome::Rejected(rejection) => rejection.code(),
        Outcome::Failed(_) => "engine_error",
        Outcome::Expired => "deadline",
        Outcome::Cancelled | Outcome::ShutDown => "",
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
