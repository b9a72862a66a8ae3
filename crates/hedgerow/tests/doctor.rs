//! Tests of `hedgerow doctor`: it finds what prevents serving, and reports the fix.

mod support;

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs it for the small model on a free port; `None` when the model is not here.
fn doctor(arguments: &[&str], variables: &[(&str, &str)]) -> Option<(Output, Value)> {
    let model = support::model()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(["doctor", "--json"]).args(arguments);
    if !arguments.iter().any(|argument| argument.ends_with(".gguf")) {
        command.arg(model);
    }
    if !arguments.contains(&"--port") {
        command.args(["--port", "0"]);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Some((output, found))
}

/// Returns the state of a check, and its line.
fn finding<'a>(found: &'a Value, check: &str) -> (&'a str, String) {
    let all = found["checks"].as_array().expect("a list");
    let one = all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check} in {found}"));
    (one["state"].as_str().unwrap(), format!("{} {}", one["found"], one["way_out"]))
}

#[test]
fn a_machine_that_can_serve_has_no_errors() {
    let Some((output, found)) = doctor(&[], &[]) else { return };
    assert_eq!((output.status.code(), &found["errors"]), (Some(0), &Value::from(0)), "{found}");
    for check in ["build", "cpu", "threads", "kernels", "memory", "model", "open files", "port", "clock"] {
        assert_ne!(finding(&found, check).0, "error", "{check}");
    }
    assert!(finding(&found, "kernels").1.contains("fast"), "{found}");
}

#[test]
fn each_error_is_reported_with_its_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let damaged = std::env::temp_dir().join(format!("hedgerow-doctor-{}.gguf", std::process::id()));
    std::fs::write(&damaged, b"GGUF and no more").unwrap();
    let damaged = damaged.to_str().unwrap();
    /// Flags, environment, and the expected finding: the check, its state and a part of its line.
    type Wrong<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], [&'a str; 3]);
    let wrongs: [Wrong<'_>; 6] = [
        (&["--port", &port], &[], ["port", "error", "take another --port"]),
        (&[damaged], &[], ["model", "error", damaged]),
        (&["--policy", "best"], &[], ["configuration", "error", "policy"]),
        (&["--ctx-size", "1000000000"], &[], ["memory", "error", "--ctx-size"]),
        (&["--threads", "999"], &[], ["threads", "warning", "may use only"]),
        (&[], &[("HEDGEROW_CACHE", "/dev/null/cache")], ["cache", "warning", "HEDGEROW_CACHE"]),
    ];
    for (arguments, variables, [check, state, words]) in wrongs {
        let Some((output, found)) = doctor(arguments, variables) else { return };
        let (is, line) = finding(&found, check);
        assert_eq!(is, state, "{arguments:?} {variables:?}: {found}");
        assert!(line.contains(words), "{line}");
        assert_eq!(output.status.code(), Some(i32::from(state == "error")), "{found}");
    }
    std::fs::remove_file(damaged).unwrap();
}

#[test]
fn a_low_limit_of_open_files_is_a_warning() {
    let Some(model) = support::model() else { return };
    let program = env!("CARGO_BIN_EXE_hedgerow");
    let line = format!("ulimit -n 100; exec {program} doctor {} --port 0", model.display());
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("warning  open files: at most 100"), "{text}");
    assert!(
        text.lines().all(|line| ["ok ", "warning ", "error "].iter().any(|start| line.starts_with(start)))
    );
}
