//! Tests of `hedgerow list` and `show` with the real small model, before and after it is measured.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Creates a cache folder with the small model in its models folder under this name; `None`, with the reason printed,
/// when the model is not here.
fn cache_with(name: &str, file: &str) -> Option<PathBuf> {
    let model = support::model()?;
    let cache = std::env::temp_dir().join(format!("hedgerow-list-{}-{name}", std::process::id()));
    // It exists only if an earlier process with the same id left it.
    let _ = std::fs::remove_dir_all(&cache);
    std::fs::create_dir_all(cache.join("models")).unwrap();
    std::os::unix::fs::symlink(model, cache.join("models").join(file)).unwrap();
    Some(cache)
}

fn run(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .env("HEDGEROW_CACHE", cache)
        .output()
        .expect("the program starts")
}

fn hedgerow(cache: &Path, arguments: &[&str]) -> (String, String) {
    let output = run(cache, arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("hedgerow writes UTF-8");
    let said = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    (text(&output.stdout), said)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const SETUP: [&str; 6] = ["--parallel", "2", "--ctx-size", "512", "--prefill-chunk", "64"];

#[test]
fn a_model_is_listed_as_assumed_and_once_profiled_as_measured() {
    let Some(cache) = cache_with("profiled", "SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let (table, said) = hedgerow(&cache, &["list"]);
    assert!(table.contains("smollm2-135m-instruct  Q4_1"), "{table}");
    assert!(said.contains("hint: `hedgerow profile "), "{said}");
    let before = json(&hedgerow(&cache, &["show", "smollm2-135m-instruct", "--json"]).0);
    let entry = &before["precisions"][0];
    assert_eq!((&entry["parameters"], &entry["architecture"]), (&134_515_008.into(), &"llama".into()));
    assert_eq!((&entry["alpha"]["source"]["kind"], &entry["load_ms"]), (&"assumed".into(), &Value::Null));
    // 30 layers of 3 heads of 64 numbers, keys and values, of two bytes.
    assert_eq!(entry["kv_types"][0], serde_json::json!({"name": "f16", "bytes_per_token": 23_040}));

    let file = cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    hedgerow(&cache, &[&["profile", file.to_str().unwrap()], &SETUP[..]].concat());
    let saved = json(&std::fs::read_to_string(cache.join("catalogue.json")).expect("profile writes it"));
    assert_eq!(saved["format"], "hedgerow-catalogue/1");
    let after = json(&hedgerow(&cache, &["list", "--json"]).0);
    assert_eq!(after, saved, "nothing has changed since");
    let entry = &after["models"][0]["precisions"][0];
    assert_eq!(entry["alpha"]["source"]["kind"], "measured");
    let resident = entry["resident_bytes"]["value"].as_u64().expect("Linux says how much is resident");
    assert!(resident >= 90_000_000, "{resident}");
    assert_eq!(entry["decode"][0]["beta"]["value"], 1.0, "it is its own reference");
    assert!(entry["decode"][0]["tokens_per_s"]["value"].as_f64() > Some(1.0), "{entry}");
    assert_eq!(entry["setup"]["parallel"], 2);

    let picture = cache.join("beta.svg");
    let named = ["show", "SmolLM2-135M-instruct:q4_1", "--plot", picture.to_str().unwrap()];
    let (shown, _) = hedgerow(&cache, &named);
    assert!(shown.contains("β against Q4_1") && shown.contains("measured 20"), "{shown}");
    assert!(std::fs::read_to_string(picture).unwrap().starts_with("<svg"));
    std::fs::remove_dir_all(cache).unwrap();
}

#[test]
fn a_file_elsewhere_is_shown_by_its_path() {
    let Some(cache) = cache_with("file", "Other-Q4_1.gguf") else { return };
    let elsewhere = cache.join("Elsewhere-Q4_1.gguf");
    std::fs::copy(cache.join("models/Other-Q4_1.gguf"), &elsewhere).unwrap();
    let shown = json(&hedgerow(&cache, &["show", elsewhere.to_str().unwrap(), "--json"]).0);
    assert_eq!((&shown["name"], &shown["precisions"][0]["sha256"]), (&"Elsewhere".into(), &Value::Null));
    assert!(hedgerow(&cache, &["list"]).0.contains("Elsewhere"), "and listed from then on");
    std::fs::remove_dir_all(cache).unwrap();
}

#[test]
fn the_error_for_an_unknown_model_lists_the_known_ones() {
    let Some(cache) = cache_with("absent", "Tiny-Q4_1.gguf") else { return };
    let refused = |arguments: &[&str]| {
        let output = run(&cache, arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&["show", "no-such-model"]);
    assert!(said.contains("no model `no-such-model`") && said.contains("hint: there are "), "{said}");
    let (table, _) = hedgerow(&cache, &["list"]);
    let name = table.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let said = refused(&["show", &format!("{name}:Q8_0")]);
    assert!(said.contains("not here in the precision `Q8_0`") && said.contains("there are Q4_1"), "{said}");
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::create_dir_all(&cache).unwrap();
    assert!(refused(&["list"]).contains("hint: `hedgerow pull`"));
    std::fs::remove_dir_all(cache).unwrap();
}
