//! `hedgerow evaluate`, with the real small model, held against llama.cpp's own tool.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A text that is always here: this project's licence.
const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../LICENSE-APACHE");

fn hedgerow(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .env("HEDGEROW_CACHE", cache)
        .output()
        .expect("the program starts")
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("evaluate-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn results(output: &Output) -> Vec<Value> {
    let content: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)));
    content["results"].as_array().unwrap_or_else(|| panic!("{content:#}")).clone()
}

fn figure(result: &Value, name: &str) -> f64 {
    result[name]["value"].as_f64().unwrap_or_else(|| panic!("no {name} in {result:#}"))
}

#[track_caller]
fn is_within(found: f64, expected: f64, part: f64) {
    assert!((found / expected - 1.0).abs() <= part, "{found} is not {expected} to {part}");
}
