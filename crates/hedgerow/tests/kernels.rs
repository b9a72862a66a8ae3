//! Tests of the kernel check: kernels are checked in a child process before a model is loaded, and a server whose
//! fast kernels failed uses the plain ones.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::Server;

/// Small enough to be measured in a few seconds.
const SETUP: [&str; 6] = ["--parallel", "2", "--ctx-size", "512", "--prefill-chunk", "64"];

fn cache(name: &str) -> PathBuf {
    let cache = std::env::temp_dir().join(format!("hedgerow-kernels-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&cache);
    cache
}

fn hedgerow(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(arguments).env("HEDGEROW_CACHE", cache).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the saved verdicts: file and content.
fn verdicts(cache: &Path) -> Vec<(PathBuf, Value)> {
    let files = fs::read_dir(cache.join("kernels")).into_iter().flatten().flatten().map(|file| file.path());
    let read = |path: PathBuf| {
        let content = serde_json::from_str(&fs::read_to_string(&path).unwrap()).expect("a verdict is JSON");
        (path, content)
    };
    files.map(read).collect()
}

/// Changes the saved verdict to that of a machine on which the fast kernels crash, and optionally the plain ones too.
fn let_them_crash(cache: &Path, plain_too: bool) {
    let [(path, verdict)] = &verdicts(cache)[..] else { panic!("there is one verdict") };
    let mut verdict = verdict.clone();
    verdict["usable"] = if plain_too { Value::Null } else { json!({ "kernels": "plain" }) };
    let what = "the fast kernels died by SIGILL (illegal instruction) (compiled with AMX_INT8)";
    verdict["trials"][1]["failure"] = json!({ "kind": "signal", "what": what, "is_lasting": true });
    fs::write(path, verdict.to_string()).unwrap();
}

fn answers(server: &Server) {
    let body = json!({ "messages": [{ "role": "user", "content": "Say hi." }], "max_tokens": 4 });
    let answer = server.chat(&[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_server_whose_fast_kernels_crashed_in_the_check_uses_the_plain_ones() {
    let cache = cache("serve");
    let Some(server) = Server::start_in(&cache, &SETUP) else { return };
    let health = server.get("/health").json();
    let fast = json!([{ "precision": "Q4_1", "in_use": "fast", "reason": "checked" }]);
    assert_eq!((&health["status"], &health["kernels"]), (&json!("ok"), &fast));
    answers(&server);
    assert!(server.terminate());

    let_them_crash(&cache, false);
    let server = Server::start_in(&cache, &SETUP).expect("the model is here");
    let kernels = server.get("/health").json()["kernels"][0].clone();
    assert_eq!((&kernels["in_use"], &kernels["reason"]), (&json!("plain"), &json!("signal")));
    assert!(kernels["detail"].as_str().unwrap().contains("SIGILL"), "{kernels}");
    let metric = "hedgerow_kernels_info{precision=\"Q4_1\",kernels=\"plain\",reason=\"signal\"}";
    assert_eq!(server.metric(metric), 1.0);
    answers(&server);
    assert!(server.terminate());
    let profiles: Vec<Value> = fs::read_dir(cache.join("profiles"))
        .unwrap()
        .map(|file| serde_json::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap())
        .collect();
    let mut kernels: Vec<&str> =
        profiles.iter().map(|profile| profile["engine"]["kernels"].as_str().unwrap_or("fast")).collect();
    kernels.sort_unstable();
    assert_eq!(kernels, ["fast", "plain"], "each has a profile of its own");

    let model = support::model().unwrap();
    let serve = |more: &[&str]| {
        let arguments = ["serve", model.to_str().unwrap(), "--port", "0"];
        hedgerow(&cache, &[&arguments, &SETUP[..], more].concat())
    };
    let_them_crash(&cache, true);
    let refused = serve(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    for part in ["SIGILL", "AMX_INT8", "built for another CPU", "portable"] {
        assert!(said(&refused).contains(part), "no {part} in {}", said(&refused));
    }
    fs::remove_dir_all(cache).unwrap();
}

#[test]
fn requested_plain_kernels_are_not_checked() {
    let Some(model) = support::model() else { return };
    let cache = cache("plain");
    let arguments = ["profile", model.to_str().unwrap(), "--json", "--kernels", "plain"];
    let output = hedgerow(&cache, &[&arguments, &SETUP[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let profile: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(profile["engine"]["kernels"], "plain");
    assert!(verdicts(&cache).is_empty());
    fs::remove_dir_all(cache).unwrap();
}

#[test]
fn fast_and_plain_kernels_agree_in_every_precision() {
    let Some(model) = support::model() else { return };
    let cache = cache("agree");
    let to = "f16,q8_0,q4_0,q5_0,q4_k_m,q6_k,iq4_nl";
    let out = cache.join("models");
    let made =
        hedgerow(&cache, &["quantize", model.to_str().unwrap(), "--to", to, "--out", out.to_str().unwrap()]);
    assert!(made.status.success(), "{}", said(&made));
    let text = cache.join("text.txt");
    fs::write(&text, "A hedge is a row of shrubs that birds nest in and cattle keep out of. ".repeat(8))
        .unwrap();
    let mut files: Vec<String> =
        fs::read_dir(&out).unwrap().map(|file| file.unwrap().path().display().to_string()).collect();
    files.retain(|file| file.ends_with(".gguf"));
    assert_eq!(files.len(), 7, "{files:?}");
    let mut arguments =
        vec!["evaluate", "--reference", model.to_str().unwrap(), "--text", text.to_str().unwrap()];
    arguments.extend(["--ctx", "32", "--chunks", "2"]);
    arguments.extend(files.iter().map(String::as_str));
    let output = hedgerow(&cache, &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let verdicts = verdicts(&cache);
    assert_eq!(verdicts.len(), 8, "each kind of model is checked once");
    for (_, verdict) in &verdicts {
        let [plain, fast] = &verdict["trials"].as_array().unwrap()[..] else { panic!("{verdict}") };
        eprintln!(
            "{} in {} ms: {}",
            verdict["model"]["tensor_types"], verdict["took_ms"], fast["difference"]
        );
        assert_eq!(verdict["usable"], json!({ "kernels": "fast" }), "{verdict}");
        assert!(fast["difference"]["rms"].is_f64(), "{verdict}");
        assert!(!plain["instruction_sets"].as_array().unwrap().is_empty(), "{verdict}");
    }
    let again = hedgerow(&cache, &arguments);
    assert!(again.status.success(), "{}", said(&again));
    let times = |verdicts: &[(PathBuf, Value)]| -> Vec<Value> {
        verdicts.iter().map(|(_, verdict)| verdict["checked_unix_s"].clone()).collect()
    };
    assert_eq!(times(&self::verdicts(&cache)), times(&verdicts), "and not again");
    fs::remove_dir_all(cache).unwrap();
}

#[test]
fn a_cpu_variant_is_refused_where_the_build_has_none_and_an_unknown_choice_always() {
    let Some(model) = support::model() else { return };
    let refuse = |flags: &[&str]| {
        let arguments = ["serve", model.to_str().unwrap(), "--port", "0"];
        let output = hedgerow(&cache("refuse"), &[&arguments, flags].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    let unknown = refuse(&["--kernels", "plain", "--cpu-variant", "no-such-cpu"]);
    assert!(unknown.contains("`no-such-cpu`") && unknown.contains("hint: "), "{unknown}");
    let unknown = refuse(&["--cpu-variant", "no-such-cpu"]);
    assert!(unknown.contains("`no-such-cpu`") && unknown.contains("hint: "), "{unknown}");
    let choice = refuse(&["--kernels", "quick"]);
    assert!(
        choice.contains("`engine.kernels` is `quick`") && choice.contains("auto, fast or plain"),
        "{choice}"
    );
}
