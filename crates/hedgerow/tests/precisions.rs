//! Tests of one model in several precisions, on a real server.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::Server;

/// Quantizes the shipped Q4_1 to these precisions, in a folder of this file's own.
fn made(name: &str, precisions: &str) -> Option<PathBuf> {
    let model = support::model()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("quantize")
        .arg(model)
        .args(["--to", precisions, "--force", "--out"])
        .arg(&folder)
        .env("HEDGEROW_CACHE", folder.join("cache"))
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(folder)
}

fn file(folder: &Path, precision: &str) -> String {
    folder.join(format!("SmolLM2-135M-Instruct.{precision}.gguf")).display().to_string()
}

/// Small KV caches, because each precision has one.
const SMALL: [&str; 4] = ["--parallel", "4", "--ctx-size", "4096"];

fn asks(model: &str, more: Value) -> Value {
    let mut body = json!({
        "model": model, "max_tokens": 8, "temperature": 0, "ignore_eos": true,
        "messages": [{ "role": "user", "content": "Name three birds." }],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Returns the precision that answered.
fn precision(server: &Server, body: &Value) -> String {
    let answer = server.chat(&[], body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["hedgerow"]["precision"].as_str().unwrap().to_owned()
}

#[test]
fn each_request_runs_at_a_precision_that_meets_its_quality_floor() {
    let Some(folder) = made("precisions-mixed", "q8_0") else { return };
    let also = format!("{}=0.5", file(&folder, "Q8_0"));
    let flags: Vec<&str> = SMALL.into_iter().chain(["--also", &also]).collect();
    let Some(server) = Server::start(&flags) else { return };
    let floor = |quality: f64| json!({ "hedgerow": { "min_quality": quality } });
    assert_eq!(precision(&server, &asks("small", floor(0.9))), "Q4_1");
    assert_eq!(precision(&server, &asks("small:Q8_0", json!({}))), "Q8_0");
    let refused = server.chat(&[], &asks("small:Q8_0", floor(0.9)));
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (422, Some("quality_infeasible")));
    // All at once, in steps of their own.
    let pinned = ["Q4_1", "Q8_0", "Q4_1", "Q8_0"];
    let answered: Vec<String> = std::thread::scope(|scope| {
        let server = &server;
        let ask = |name: &'static str| {
            scope.spawn(move || precision(server, &asks(&format!("small:{name}"), json!({}))))
        };
        let asked: Vec<_> = pinned.into_iter().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(answered, pinned);
    assert_eq!(server.metric("hedgerow_precision_requests_total{precision=\"Q8_0\"}"), 3.0);
    let names = &server.get("/v1/models").json()["data"][0]["hedgerow"]["precisions"];
    assert_eq!((&names[0]["id"], &names[1]["id"]), (&json!("small:Q4_1"), &json!("small:Q8_0")));
}

#[test]
fn a_cached_prefix_is_used_at_the_precision_that_computed_it_and_at_no_other() {
    let Some(folder) = made("precisions-prefixes", "q8_0") else { return };
    let also = format!("{}=0.5", file(&folder, "Q8_0"));
    let flags: Vec<&str> = SMALL.into_iter().chain(["--also", &also]).collect();
    let Some(server) = Server::start(&flags) else { return };
    let cached = |model: &str| {
        let answer = server.chat(&[], &asks(model, json!({})));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached("small:Q8_0"), 0);
    assert!(cached("small:Q8_0") > 8);
    assert_eq!(cached("small:Q4_1"), 0);
}

#[test]
fn a_precision_that_does_not_fit_is_loaded_on_demand_and_admitted_requests_are_still_met() {
    let Some(folder) = made("precisions-loaded", "q8_0,q4_0") else { return };
    let also = format!("{}=0.6,{}=0.5", file(&folder, "Q8_0"), file(&folder, "Q4_0"));
    // Memory for the first and one other, with its KV cache of 94 MB.
    let flags: Vec<&str> = SMALL.into_iter().chain(["--also", &also, "--weights-gb", "0.36"]).collect();
    let Some(server) = Server::start(&flags) else { return };
    let resident =
        |name: &str| server.metric(&format!("hedgerow_precision_resident{{precision=\"{name}\"}}"));
    assert_eq!(["Q4_1", "Q8_0", "Q4_0"].map(resident), [1.0, 1.0, 0.0]);
    let deadline = json!({ "max_tokens": 200, "hedgerow": { "deadline_ms": 60_000 } });
    std::thread::scope(|scope| {
        let server = &server;
        let admitted = scope.spawn(move || server.chat(&[], &asks("small:Q4_1", deadline)));
        assert_eq!(precision(server, &asks("small:Q4_0", json!({}))), "Q4_0");
        assert_eq!(admitted.join().unwrap().status, 200);
    });
    assert_eq!(["Q4_1", "Q8_0", "Q4_0"].map(resident), [1.0, 0.0, 1.0]);
    assert_eq!(precision(&server, &asks("small:Q8_0", json!({}))), "Q8_0");
    assert_eq!(server.metric("hedgerow_precision_loads_total{precision=\"Q4_0\"}"), 1.0);
    assert_eq!(server.metric("hedgerow_requests_total{outcome=\"met\",reason=\"length\"}"), 3.0);
}

#[test]
fn a_file_that_differs_from_the_measured_one_is_not_loaded() {
    let Some(folder) = made("precisions-replaced", "q8_0,q4_0") else { return };
    let (q8_0, q4_0) = (file(&folder, "Q8_0"), file(&folder, "Q4_0"));
    let also = format!("{q8_0}=0.6,{q4_0}=0.5");
    let flags: Vec<&str> = SMALL.into_iter().chain(["--also", &also, "--weights-gb", "0.36"]).collect();
    let Some(server) = Server::start(&flags) else { return };
    std::fs::copy(&q8_0, folder.join("other")).unwrap();
    std::fs::rename(folder.join("other"), &q4_0).unwrap();
    let refused = server.chat(&[], &asks("small:Q4_0", json!({})));
    assert_eq!(
        (refused.status, refused.code()),
        (503, "precision_unavailable".to_owned()),
        "{}",
        refused.body
    );
    assert_eq!(precision(&server, &asks("small:Q4_1", json!({}))), "Q4_1");
}

#[test]
fn precisions_that_cannot_be_served_are_refused_at_the_start() {
    let Some(folder) = made("precisions-refused", "q8_0") else { return };
    let q8_0 = file(&folder, "Q8_0");
    let fail = |also: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .arg("serve")
            .arg(support::model().unwrap())
            .args(["--port", "0", "--also", also])
            .args(more)
            .env("HEDGEROW_CACHE", folder.join("cache"))
            .output()
            .expect("the program starts");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let unknown = fail(&q8_0, &[]);
    assert!(
        unknown.contains("it has not been measured") && unknown.contains("hedgerow evaluate"),
        "{unknown}"
    );
    let twice = fail(&format!("{}=0.9", support::model().unwrap().display()), &[]);
    assert!(twice.contains("is Q4_1, which is served already"), "{twice}");
    let wrong = fail(&format!("{q8_0}=1.5"), &[]);
    assert!(wrong.contains("with a quality from 0 to 1"), "{wrong}");
    let small = fail(&format!("{q8_0}=0.9"), &["--weights-gb", "0.05"]);
    assert!(small.contains("more than `model.weights_gb`"), "{small}");
}
