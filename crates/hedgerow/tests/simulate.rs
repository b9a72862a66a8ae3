//! Tests of `hedgerow simulate` and `hedgerow bench simulate` as programs: files, tables and errors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const CONTINUOUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/continuous.toml");

fn hedgerow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .output()
        .expect("the program was built for this test")
}

fn printed(arguments: &[&str]) -> String {
    let output = hedgerow(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("hedgerow writes UTF-8")
}

/// Returns a path for a test's own folder, which does not exist yet.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hedgerow-simulate-{}-{name}", std::process::id()))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_policy_has_a_folder_and_all_policies_share_one_plot() {
    let out = folder("policies");
    let path = out.to_str().unwrap();
    printed(&[
        "simulate",
        CONTINUOUS,
        "--requests",
        "40",
        "--policy",
        "greedy,none:20",
        "--out",
        path,
        "--plan-times",
    ]);
    assert_eq!(names(&out), ["cdfs.svg", "greedy", "none-20"]);
    let files = ["cdfs.csv", "plan_times.csv", "plans.csv", "requests.csv", "summary.json"];
    for policy in ["greedy", "none-20"] {
        assert_eq!(names(&out.join(policy)), files);
        let requests = fs::read_to_string(out.join(policy).join("requests.csv")).unwrap();
        assert_eq!(requests.lines().count(), 41, "a header and a line for each");
        let lines = |name: &str| fs::read_to_string(out.join(policy).join(name)).unwrap().lines().count();
        assert_eq!(lines("plans.csv"), lines("plan_times.csv"), "each plan took its time");
    }
    assert!(fs::read_to_string(out.join("cdfs.svg")).unwrap().contains("none:20"));
    fs::remove_dir_all(&out).unwrap();
}

#[test]
fn every_column_is_documented() {
    let documentation =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/simulator.md")).unwrap();
    let out = folder("columns");
    printed(&["simulate", CONTINUOUS, "--requests", "20", "--out", out.to_str().unwrap(), "--plan-times"]);
    for name in ["requests.csv", "plans.csv", "cdfs.csv", "plan_times.csv"] {
        let text = fs::read_to_string(out.join(name)).unwrap();
        for column in text.lines().next().unwrap().split(',') {
            assert!(documentation.contains(&format!("`{column}`")), "{name}: {column} is not documented");
        }
    }
    fs::remove_dir_all(&out).unwrap();
}

#[test]
fn a_trace_covers_only_one_policy() {
    let trace = folder("trace.json");
    let path = trace.to_str().unwrap();
    printed(&["simulate", CONTINUOUS, "--requests", "10", "--trace", path]);
    let events: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    fs::remove_file(&trace).unwrap();
    let named = |name: &str| {
        events["traceEvents"].as_array().unwrap().iter().filter(|event| event["name"] == name).count()
    };
    assert!(["uplink", "prefill", "decode", "downlink", "plan"].iter().all(|name| named(name) > 0));
    let output = hedgerow(&["simulate", CONTINUOUS, "--policy", "edf,fifo", "--trace", path]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("name one policy"), "{error}");
    assert!(!trace.exists());
}

#[test]
fn the_benchmark_has_a_row_for_each_size_and_plots_them() {
    let plot = folder("growth.svg");
    let path = plot.to_str().unwrap();
    let bench =
        ["bench", "simulate", CONTINUOUS, "--requests", "50,1e2", "--rate", "20", "--json", "--plot", path];
    let rows: Vec<Value> = printed(&bench).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sizes: Vec<_> = rows.iter().map(|row| row["requests"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [50, 100]);
    for row in &rows {
        assert_eq!(row["rate_per_s"], 20.0);
        assert!(row["times_heap"].as_f64().unwrap() > 1.0, "a heap alone is faster: {row}");
        assert!(row["events"].as_u64() > row["steps"].as_u64(), "{row}");
    }
    assert!(fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    fs::remove_file(&plot).unwrap();
}
