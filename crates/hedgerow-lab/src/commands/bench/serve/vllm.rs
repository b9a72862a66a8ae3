//! A run as JSON, in the form of vLLM's `bench serve`, so that its tools can read it; hedgerow's own figures are
//! under the key `hedgerow`.

use chrono::{DateTime, Utc};
use hedgerow_loadgen::{Arrivals, Class, Outcome, Pattern, Record, Series, Tally, failures};
use serde_json::{Map, Value, json};

use super::cells::{Measured, Pressure, Server};

/// Returns one run as JSON.
pub(super) fn run(measured: &Measured, server: &Server, pattern: &Pattern) -> Value {
    let tally = Tally::of(&pattern.classes, &measured.run.records);
    let took_s = measured.run.took.as_secs_f64();
    let per_s = |count: f64| if took_s > 0.0 { count / took_s } else { 0.0 };
    let burstiness = match &pattern.arrivals {
        Arrivals::Gamma { shape } => Some(*shape),
        Arrivals::Trace { .. } => None,
    };
    let (request_rate, max_concurrency) = match measured.cell.pressure {
        Pressure::Rate(rate_per_s) => (json!(rate_per_s), Value::Null),
        Pressure::Callers(callers) => (json!("inf"), json!(callers)),
    };
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("date", DateTime::<Utc>::from(measured.began).format("%Y%m%d-%H%M%S").to_string().into());
    put("backend", "openai-chat".into());
    put("label", server.name.clone().into());
    put("model_id", server.client.model().into());
    put("num_prompts", tally.offered.into());
    put("request_rate", request_rate);
    put("burstiness", burstiness.into());
    put("max_concurrency", max_concurrency);
    put("duration", took_s.into());
    put("completed", tally.completed.into());
    put("failed", (tally.offered - tally.completed).into());
    put("total_input_tokens", tally.prompt_tokens.into());
    put("total_output_tokens", tally.output_tokens.into());
    put("request_throughput", per_s(tally.completed as f64).into());
    put("request_goodput", per_s(tally.met() as f64).into());
    put("output_throughput", per_s(tally.output_tokens as f64).into());
    put("total_token_throughput", per_s((tally.prompt_tokens + tally.output_tokens) as f64).into());
    for (name, series) in
        [("ttft", &tally.ttft), ("tpot", &tally.tpot), ("itl", &tally.itl), ("e2el", &tally.e2e)]
    {
        put(&format!("mean_{name}_ms"), series.mean().into());
        put(&format!("median_{name}_ms"), series.percentile(50).into());
        put(&format!("std_{name}_ms"), series.standard_deviation().into());
        for percent in [90, 95, 99] {
            put(&format!("p{percent}_{name}_ms"), series.percentile(percent).into());
        }
    }
    put("hedgerow", ours(measured, server, &pattern.classes, &tally));
    Value::Object(object)
}

/// Returns the figures that vLLM's format does not have.
fn ours(measured: &Measured, server: &Server, classes: &[Class], tally: &Tally) -> Value {
    let records = &measured.run.records;
    let duration_s = measured.run.duration.as_secs_f64();
    let of_class = |(index, class): (usize, &Class)| {
        let own = records.iter().filter(|record| record.class == index);
        let mut figures = figures(&Tally::of(classes, own), duration_s);
        figures["class"] = class.name.clone().into();
        figures["deadline_ms"] = class.deadline.map(|deadline| deadline.as_millis() as u64).into();
        figures
    };
    let mut ours = figures(tally, duration_s);
    let done = records.iter().map(|record: &Record| record.tokens_by(measured.run.duration));
    let (prompt, output) = done.fold((0.0, 0.0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    ours["version"] = env!("CARGO_PKG_VERSION").into();
    ours["url"] = server.url.clone().into();
    ours["seed"] = measured.cell.seed.into();
    ours["clients"] = measured.cell.offer.patience.name().into();
    ours["duration_s"] = duration_s.into();
    ours["prompt_tokens_per_s"] = (prompt / duration_s).into();
    ours["output_tokens_per_s"] = (output / duration_s).into();
    ours["send_lag_ms"] = quantiles(&tally.lag);
    ours["shorter_than_asked"] = tally.short.into();
    ours["failures"] =
        failures(records).into_iter().map(|(why, count)| json!({ "why": why, "count": count })).collect();
    ours["classes"] = classes.iter().enumerate().map(of_class).collect();
    ours
}

fn figures(tally: &Tally, duration_s: f64) -> Value {
    let outcomes = Outcome::ALL.map(|outcome| (outcome.name().to_owned(), tally.count_of(outcome).into()));
    json!({
        "offered": tally.offered,
        "outcomes": Value::Object(outcomes.into_iter().collect()),
        "admitted": tally.admitted,
        "attainment": tally.attainment(),
        "admitted_attainment": tally.admitted_attainment(),
        "value_attainment": tally.value_attainment(),
        "goodput_per_s": tally.met() as f64 / duration_s,
        "goodput_tokens_per_s": tally.met_tokens as f64 / duration_s,
        "ttft_ms": quantiles(&tally.ttft),
        "tpot_ms": quantiles(&tally.tpot),
        "e2e_ms": quantiles(&tally.e2e),
        "refusal_ms": quantiles(&tally.refusal),
    })
}

fn quantiles(series: &Series) -> Value {
    json!({
        "p50": series.percentile(50), "p90": series.percentile(90), "p99": series.percentile(99),
        "max": series.percentile(100),
    })
}
