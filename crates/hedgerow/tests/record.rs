//! Tests of a server's recording, and of its replay.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Answer, Server};

/// Returns a path of this test's own, where no file exists.
fn fresh(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hedgerow-record-{}-{name}.jsonl", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn replay(path: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(["simulate", "--replay", text(path)]).args(flags).output().expect("the program starts")
}

/// Replays and returns the objects that it printed, one a line.
fn objects(path: &Path, flags: &[&str]) -> Vec<Value> {
    let output = replay(path, &[&["--json"], flags].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {said}");
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Serves ten requests: answered, refused, and cancelled while they wait and while they run.
fn serve_ten(server: &Server) {
    let body = |tokens: u32| {
        json!({
            "messages": [{ "role": "user", "content": "The password is swordfish." }],
            "max_tokens": tokens, "ignore_eos": true, "stream": true,
        })
    };
    let open = |tokens: u32| server.open("POST", "/v1/chat/completions", &[], &body(tokens).to_string());
    let wait_for = |running: f64, waiting: f64| {
        server.wait_until(&format!("{running} run and {waiting} wait"), |server| {
            let count = |name: &str| server.metric(&format!("hedgerow_num_requests_{name}"));
            (count("running"), count("waiting")) == (running, waiting)
        });
    };
    let first = open(1000);
    wait_for(1.0, 0.0);
    let second = open(1000);
    wait_for(2.0, 0.0);
    let waiting = open(1000);
    wait_for(2.0, 1.0);
    let refused = server.chat(&[("x-slo-e2e-ms", "1")], &body(64));
    assert_eq!(refused.status, 422, "{}", refused.body);
    drop(waiting);
    wait_for(2.0, 0.0);
    drop(second);
    wait_for(1.0, 0.0);
    for caller in [4, 8, 16].map(open) {
        assert!(Answer::read(caller).body.contains("[DONE]"));
    }
    drop(first);
    wait_for(0.0, 0.0);
    for tokens in [5, 6, 7] {
        let answer = server.chat(&[("x-slo-e2e-ms", "60000")], &body(tokens));
        assert!(answer.body.contains("[DONE]"), "{}", answer.body);
    }
}

#[test]
fn a_recording_is_replayed_to_the_same_outcomes() {
    let path = fresh("ten");
    // Two places for best-effort requests, and one that they leave.
    let flags = ["--parallel", "3", "--ctx-size", "6144", "--record", text(&path)];
    let Some(server) = Server::start(&flags) else { return };
    serve_ten(&server);
    assert!(server.terminate(), "it ends well");

    let recording = std::fs::read_to_string(&path).expect("it is there");
    assert!(recording.starts_with("{\"format\":\"hedgerow-record/1\","));
    assert!(!recording.contains("password") && !recording.contains("swordfish"), "no text is recorded");
    let exact = objects(&path, &["--exact-events"]);
    assert_eq!((&exact[0]["identical"], &exact[0]["compared"]["records"]), (&json!(true), &json!(10)));

    let compared = objects(&path, &["--policy", "dftsp,fifo", "--margin", "0.2"]);
    let policies: Vec<_> = compared.iter().map(|one| one["policy"].clone()).collect();
    assert_eq!(policies, ["dftsp", "fifo"]);
    for one in compared.iter().chain(&objects(&path, &[])).chain(&objects(&path, &["--cost", "as-profiled"]))
    {
        assert_eq!((&one["recorded"]["offered"], &one["simulated"]["offered"]), (&json!(10), &json!(10)));
        assert_eq!((&one["recorded"]["met"], &one["recorded"]["turned_away"]), (&json!(6), &json!(1)));
        assert_eq!((&one["is_whole"], &one["unfinished"]), (&json!(true), &json!(0)));
        assert!(one["mean_slowdown"].as_f64().expect("a number") > 0.0);
    }
    let shown = String::from_utf8(replay(&path, &[]).stdout).expect("text");
    assert!(shown.contains("times as long; replayed at") && shown.contains("admitted attainment"), "{shown}");

    a_recording_is_not_overwritten(&path, &recording);
    a_part_of_it_is_replayed_with_a_warning(&recording);
    a_changed_end_is_found(&recording);
    std::fs::remove_file(path).expect("the file is ours");
}

fn a_recording_is_not_overwritten(path: &Path, recording: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["serve", "--port", "0", "--record", text(path)])
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("is there already") && said.contains("hint: give --record a folder"), "{said}");
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), recording);
}

fn a_part_of_it_is_replayed_with_a_warning(recording: &str) {
    let path = fresh("part");
    std::fs::write(&path, &recording[..recording.len() * 2 / 3]).expect("a file can be written");
    let output = replay(&path, &["--exact-events"]);
    let (said, shown) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let lines = recording[..recording.len() * 2 / 3].lines().count();
    assert!(said.contains(&format!("line {lines}: it is cut off; the {} lines", lines - 1)), "{said}");
    assert!(output.status.success() && shown.starts_with("identical: "), "{said}{shown}");
    std::fs::remove_file(path).expect("the file is ours");
}

fn a_changed_end_is_found(recording: &str) {
    let path = fresh("changed");
    let changed = recording.replacen("\"outcome\":\"cancelled\"", "\"outcome\":\"expired\"", 1);
    assert_ne!(changed, recording);
    std::fs::write(&path, changed).expect("a file can be written");
    let output = replay(&path, &["--exact-events"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("from here on the replay differs") && said.contains("expired"), "{said}");
    std::fs::remove_file(path).expect("the file is ours");
}

#[test]
fn a_replay_refuses_an_invalid_recording() {
    let refused = |flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow")).arg("simulate").args(flags).output();
        let output = output.expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let path = fresh("other");
    std::fs::write(&path, "{\"format\":\"hedgerow-instance/1\"}\n").expect("a file can be written");
    let file = text(&path);
    let said = refused(&["--replay", file]);
    assert!(said.contains("not a recording of the format hedgerow-record/1: it says `hedgerow-instance/1`"));
    assert!(said.contains("hint: give a file that `hedgerow serve --record FILE`"), "{said}");
    assert!(refused(&["--replay", "/no/such/file"]).contains("/no/such/file"));
    let contradictions: [&[&str]; 6] = [
        &["--replay", file, "scenarios/paper.toml"],
        &["--replay", file, "--seed", "1"],
        &["--replay", file, "--exact-events", "--policy", "fifo"],
        &["scenarios/paper.toml", "--exact-events"],
        &["scenarios/paper.toml", "--cost", "as-profiled"],
        &["scenarios/paper.toml", "--margin", "0.1"],
    ];
    for flags in contradictions {
        assert!(refused(flags).contains("cannot be used with"), "{flags:?}");
    }
    assert!(refused(&[]).contains("<SCENARIO>"));
    std::fs::remove_file(path).expect("the file is ours");
}
