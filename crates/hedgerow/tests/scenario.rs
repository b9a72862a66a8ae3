//! Tests of `hedgerow scenario` as a program: files, errors, values and exit codes.

use std::path::PathBuf;
use std::process::{Command, Output};

use expect_test::expect;

fn hedgerow(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(arguments).output().expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("hedgerow writes UTF-8")
}

/// Creates an empty folder for a test.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hedgerow-scenario-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}

#[test]
fn every_kind_is_written_checked_shown_and_simulated() {
    let folder = folder("kinds");
    for kind in ["paper", "continuous", "city"] {
        let file = folder.join(format!("{kind}.toml"));
        let file = file.to_str().unwrap();
        let new = hedgerow(&["scenario", "new", "--kind", kind, "--out", file]);
        assert_eq!(text(&new.stderr), format!("wrote {file}\n"));
        let printed = hedgerow(&["scenario", "new", "--kind", kind]);
        assert_eq!(printed.stdout, std::fs::read(file).unwrap());
        let checked = hedgerow(&["scenario", "check", file]);
        assert!(text(&checked.stdout).starts_with(&format!("{file}: ok: {kind}, ")), "{checked:?}");
        let shown = hedgerow(&["scenario", "show", file, "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["scenario"]["name"], kind);
        let played = hedgerow(&["simulate", file, "--requests", "50", "--json"]);
        let played: serde_json::Value = serde_json::from_slice(&played.stdout).unwrap();
        assert_eq!(played["offered"], 50);
        assert!(played["met"].as_u64().unwrap() > 0, "{played}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let folder = folder("kept");
    let file = folder.join("mine.toml");
    std::fs::write(&file, "mine").unwrap();
    let output = hedgerow(&["scenario", "new", "--out", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is there already"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_file_is_checked_and_every_mistake_reported() {
    let folder = folder("mistakes");
    let write = |name: &str, kind: &str, from: &str, to: &str| {
        let whole = hedgerow(&["scenario", "new", "--kind", kind]);
        let whole = text(&whole.stdout);
        assert!(whole.contains(from), "{kind} has no `{from}`");
        std::fs::write(folder.join(name), whole.replacen(from, to, 1)).unwrap();
    };
    write("a.toml", "paper", "rate_per_s = 10.0", "rate_per_sec = 10.0");
    write("b.toml", "paper", "seed = 1", "seed = 2");
    write("c.toml", "city", "Jetson AGX Orin 64GB", "Jetson AGX Orin");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    let output = command
        .current_dir(&folder)
        .args(["scenario", "check", "a.toml", "b.toml", "c.toml", "d.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    expect![[r#"
        b.toml: ok: paper, BLOOM-3B on 20 accelerators, 10 requests/s, dftsp
    "#]]
    .assert_eq(text(&output.stdout));
    expect![[r#"
        error: a.toml: unknown key `rate_per_sec` on line 151

        hint: did you mean `rate_per_s`?
        error: c.toml: unknown device `Jetson AGX Orin` in `node.device`

        hint: did you mean `Jetson AGX Orin 64GB`?
        error: cannot read the scenario d.toml: No such file or directory (os error 2)

        hint: name a scenario file, such as `scenarios/paper.toml`
    "#]]
    .assert_eq(text(&output.stderr));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_scenario_is_shown_with_units_and_what_follows_from_it() {
    let folder = folder("shown");
    let file = folder.join("city.toml");
    let file = file.to_str().unwrap();
    assert!(hedgerow(&["scenario", "new", "--kind", "city", "--out", file]).status.success());
    let output = hedgerow(&["scenario", "show", file]);
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    for (key, value) in [
        ("device", "Jetson AGX Orin 64GB"),
        ("parameters_billion", "8.029995008"),
        ("node_bandwidth_gb_per_s", "204.8"),
        ("doppler_hz", "9.728953"),
        ("shadowing_db", "4.0, 7.82"),
        ("prompt_tokens", "least 24, most 48"),
    ] {
        let is_there = |line: &str| line.contains(&format!(" {key} ")) && line.trim_end().ends_with(value);
        assert!(shown.lines().any(is_there), "{key} {value} is not in\n{shown}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_trace_beside_its_scenario_is_found_from_anywhere() {
    let folder = folder("trace");
    let rows: String = (0..200).map(|index| format!("{}.5,{},20\n", index, 50 + index)).collect();
    std::fs::write(folder.join("t.csv"), format!("arrival_timestamp,prompt_size,token_size\n{rows}"))
        .unwrap();
    let whole = hedgerow(&["scenario", "new", "--kind", "continuous"]);
    let whole = text(&whole.stdout).replace("rate_per_s = 10.0", "rate_per_s = 0.5");
    let whole = format!("{whole}\n[arrivals]\nprocess = \"trace\"\ntrace = \"t.csv\"\n");
    let file = folder.join("traced.toml");
    std::fs::write(&file, whole).unwrap();
    let output = hedgerow(&["simulate", file.to_str().unwrap(), "--json"]);
    let played: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let offered = played["offered"].as_u64().unwrap();
    assert!((70..130).contains(&offered), "half of 200 rows: {played}");
    let faster = hedgerow(&["simulate", file.to_str().unwrap(), "--rate", "2"]);
    assert_eq!(faster.status.code(), Some(2));
    assert!(text(&faster.stderr).contains("fewer than `users.rate_per_s` = 2"), "{faster:?}");
    std::fs::remove_dir_all(folder).unwrap();
}
