//! Tests of `hedgerow profile` with the real small model: measured once, then read from its file.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Small enough to be measured in a few seconds.
const SETUP: [&str; 6] = ["--parallel", "2", "--ctx-size", "512", "--prefill-chunk", "64"];

fn profile(model: &Path, cache: &Path, arguments: &[&str]) -> (String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("profile")
        .arg(model)
        .args(SETUP)
        .args(arguments)
        .env("HEDGEROW_CACHE", cache)
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("hedgerow writes UTF-8");
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    (text(&output.stdout), said)
}

fn only_file(folder: PathBuf) -> PathBuf {
    let files: Vec<_> = std::fs::read_dir(folder).expect("a folder was made").flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].path()
}

#[test]
fn a_saved_profile_is_used_until_its_file_is_damaged() {
    let Some(model) = support::model() else { return };
    let cache = std::env::temp_dir().join(format!("hedgerow-profile-{}", std::process::id()));
    let (measured, said) = profile(&model, &cache, &["--json"]);
    assert!(said.contains("measured in ") && said.contains(" and saved as "), "{said}");
    let content: Value = serde_json::from_str(&measured).expect("it is one JSON object");
    assert_eq!(content["format"], "hedgerow-profile/1");
    assert_eq!((&content["engine"]["parallel"], &content["engine"]["context"]), (&2.into(), &256.into()));
    let counts = |table: &str| -> Vec<u64> {
        let lines = content["cost"][table].as_array().expect("a table has lines");
        lines.iter().map(|line| line["count"].as_u64().expect("a count")).collect()
    };
    assert_eq!((counts("prefill"), counts("decode")), (vec![1, 4, 16, 32, 64], vec![1, 2]));
    let loaded = content["memory"]["loaded"].as_u64().expect("Linux says how much is resident");
    assert!(content["memory"]["measured"].as_u64() > Some(loaded), "{}", content["memory"]);
    let file = only_file(cache.join("profiles"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), measured);

    let picture = cache.join("decode.svg");
    let (table, said) = profile(&model, &cache, &["--plot", picture.to_str().expect("a plain path")]);
    assert!(said.contains(" ago and saved as ") && !said.contains("measured in "), "{said}");
    assert!(table.contains("prefill, tok/s") && table.contains("decode, ms a step"), "{table}");
    assert!(std::fs::read_to_string(picture).unwrap().starts_with("<svg"));
    assert_eq!(profile(&model, &cache, &["--json"]).0, measured);

    std::fs::write(&file, &measured[..measured.len() / 2]).unwrap();
    let (again, said) = profile(&model, &cache, &["--json"]);
    assert!(said.contains("it is damaged: ") && said.contains("measured in "), "{said}");
    assert_eq!(std::fs::read_to_string(only_file(cache.join("profiles"))).unwrap(), again);
    std::fs::remove_dir_all(cache).unwrap();
}
