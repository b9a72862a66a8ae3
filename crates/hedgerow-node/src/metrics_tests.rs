use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// Parses each metric with its type from the text format.
fn described(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

fn filled() -> Metrics {
    let metrics = Metrics::new();
    metrics.resident("Q4_0", true);
    metrics.loaded("Q4_0");
    metrics.started("Q4_0");
    metrics.name_model("small");
    metrics.error_response("queue_full");
    metrics.connections.refused("connections");
    metrics.finished.get_or_create(&FinishedLabels { finished_reason: "stop" }).inc();
    metrics.requests.get_or_create(&OutcomeLabels { outcome: "met", reason: "stop" }).inc();
    metrics.upload(1000, Span::from_millis(10), Some(BitsPerSecond::new(800_000.0)));
    metrics
}

#[test]
fn every_sample_belongs_to_a_metric_that_is_described_in_base_units() {
    let text = filled().encode(Format::Text).unwrap();
    let described = described(&text);
    assert!(described.len() > 25, "{text}");
    for (name, kind) in &described {
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| !help.is_empty()), "{name} has no help text");
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name} is a {kind}");
        for unit in ["bits", "milliseconds", "_ms", "kilobytes", "minutes", "percent"] {
            assert!(!name.contains(unit), "{name}: {unit} is no base unit");
        }
    }
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().unwrap();
        let belongs = |(known, kind): &(&str, &str)| match *kind {
            "histogram" => {
                ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(*known))
            }
            _ => name == *known,
        };
        assert!(described.iter().any(belongs), "{sample} is described nowhere");
    }
    assert!(text.contains("\nhedgerow_uplink_bytes_per_second 100000"), "{text}");
}

/// The labels of a metric's samples, by one of them.
fn labels(text: &str, name: &str) -> String {
    let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let pairs = sample.and_then(|rest| rest.split_once('}')).map(|(pairs, _)| pairs).unwrap_or_default();
    let names: Vec<&str> = pairs.split(',').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    if names.is_empty() { String::new() } else { format!("{{{}}}", names.join(",")) }
}

/// The page `docs/reference/metrics.md`.
fn page() -> String {
    let metrics = filled();
    let chosen = Chosen { kernels: hedgerow_llama::Kernels::Fast, reason: "checked", detail: None };
    metrics.kernels("Q4_0", &chosen);
    let text = metrics.encode(Format::Text).unwrap();
    let mut page = PAGE_HEAD.to_owned();
    for (name, kind) in described(&text) {
        let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        let help = help.unwrap_or_default().trim_end_matches('.');
        page.push_str(&format!("| `{name}{}` | {kind} | {help} |\n", labels(&text, name)));
    }
    page + PAGE_FOOT
}

const PAGE_HEAD: &str = "# Metrics

Made from the server's own declarations. At `/metrics`, in OpenMetrics text for clients that request it (Prometheus does), otherwise in
Prometheus' text format 0.0.4, which passes `promtool check metrics`. Times are in seconds.

| name | type | what |
|---|---|---|
";

const PAGE_FOOT: &str = "
Attainment is met over all requests: `sum(rate(hedgerow_requests_total{outcome=\"met\"}[5m])) / sum(rate(hedgerow_requests_total[5m]))`.
Refused, late and cancelled requests stay in the denominator.
";

#[test]
fn the_page_of_metrics_is_as_the_server_declares_them() {
    // `UPDATE_EXPECT=1 cargo test --release -p hedgerow-node --lib page_of_metrics` writes it anew.
    expect_test::expect_file!["../../../docs/reference/metrics.md"].assert_eq(&page());
}

#[test]
fn what_is_observed_once_is_there_by_both_names() {
    let metrics = filled();
    metrics.token(Some(Span::from_millis(10)));
    metrics.kv_tokens.set(25);
    metrics.set_kv_capacity(100);
    let text = metrics.encode(Format::Text).unwrap();
    let labels = "model_name=\"small\",engine=\"0\"";
    for line in [
        "hedgerow_generation_tokens_total 1".to_owned(),
        format!("vllm:generation_tokens_total{{{labels}}} 1"),
        "hedgerow_inter_token_latency_seconds_count 1".to_owned(),
        format!("vllm:inter_token_latency_seconds_count{{{labels}}} 1"),
        format!("vllm:kv_cache_usage_perc{{{labels}}} 0.25"),
        format!("vllm:request_success_total{{{labels},finished_reason=\"stop\"}} 1"),
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_reader_that_asks_for_openmetrics_gets_it() {
    assert_eq!(Format::for_reader("*/*"), Format::Text);
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    assert_eq!(Format::for_reader(prometheus), Format::OpenMetrics);
    let text = filled().encode(Format::OpenMetrics).unwrap();
    assert!(text.contains("# TYPE hedgerow_requests counter") && text.ends_with("# EOF\n"), "{text}");
}

const ALERTS: &str = include_str!("../../../packaging/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../../packaging/monitoring/dashboard.json");

#[test]
fn alerts_and_dashboard_name_only_metrics_that_are_there() {
    let text = filled().encode(Format::Text).unwrap();
    serde_json::from_str::<serde_json::Value>(DASHBOARD).unwrap();
    for file in [ALERTS, DASHBOARD] {
        let words = file.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let names: BTreeSet<&str> = words.filter(|word| word.starts_with("hedgerow_")).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            let is_there =
                |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            assert!(text.lines().any(is_there), "no metric {name} in\n{text}");
        }
    }
}

#[test]
fn promtool_accepts_the_alert_rules() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/monitoring/alerts.yml");
    let Ok(output) = Command::new("promtool").args(["check", "rules", rules]).output() else {
        println!("skipped: promtool is not here (Debian's package `prometheus` has it)");
        return;
    };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = promtool.spawn() else {
        println!("skipped: promtool is not here (Debian's package `prometheus` has it)");
        return;
    };
    let text = filled().encode(Format::Text).unwrap();
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    // Colons are legal in names, but kept for rules by convention; vLLM's names have them.
    let said = String::from_utf8_lossy(&said);
    let of_ours =
        said.lines().find(|line| !(line.starts_with("vllm:") && line.ends_with("should not contain ':'")));
    assert_eq!(of_ours, None, "{said}");
}
