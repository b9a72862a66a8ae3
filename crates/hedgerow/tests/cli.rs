//! The command line: what it refuses, and how.

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

fn hedgerow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(arguments).output().expect("the program starts")
}

/// Runs it, expects exit code 2, and gives what it said.
fn refused(arguments: &[&str]) -> String {
    let output = hedgerow(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains("error: "), "{arguments:?}: {said}");
    said
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hedgerow-cli-{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("a file can be written");
    path
}

#[test]
fn a_file_that_is_no_model_or_half_a_model_is_refused() {
    let text = file("text.gguf", b"this is not a model");
    let said = refused(&["serve", text.to_str().unwrap(), "--port", "0"]);
    assert!(said.contains("hint: "), "{said}");
    std::fs::remove_file(text).unwrap();
    assert!(refused(&["serve", "/no/such/model.gguf", "--port", "0"]).contains("/no/such/model.gguf"));
    let Some(model) = support::model() else { return };
    let whole = std::fs::read(model).unwrap();
    let half = file("half.gguf", &whole[..whole.len() / 2]);
    let said = refused(&["serve", half.to_str().unwrap(), "--port", "0"]);
    assert!(said.contains("bytes"), "it names what is missing: {said}");
    std::fs::remove_file(half).unwrap();
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = refused(&["serve", "--port", &port]);
    assert!(
        said.contains(&format!("cannot listen on 127.0.0.1:{port}")) && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn a_configuration_mistake_is_named_with_its_place() {
    let path = file("bad.toml", b"[planning]\npolicy = \"dftsp\"\nmax_qeue = 3\n");
    let said = refused(&["config", "--config", path.to_str().unwrap()]);
    assert!(said.contains("max_qeue") && said.contains("line 3"), "{said}");
    std::fs::write(&path, "[planning]\nmargin = -1.0\n").unwrap();
    let said = refused(&["config", "--config", path.to_str().unwrap()]);
    assert!(
        said.contains("`planning.margin` is `-1` (from") && said.contains("must be from 0 to 10"),
        "{said}"
    );
    std::fs::remove_file(path).unwrap();
    let said = refused(&["config", "--policy", "best"]);
    assert!(said.contains("`planning.policy` is `best` (from --policy)"), "{said}");
    assert!(refused(&["config", "--port", "http"]).contains("--port is `http`"));
}

#[test]
fn flags_stand_above_the_environment_and_that_above_the_file() {
    let path = file("layers.toml", b"[server]\nport = 1\nhost = \"127.0.0.2\"\n[engine]\nparallel = 3\n");
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["config", "--json", "--config", path.to_str().unwrap(), "--port", "2"])
        .env("HEDGEROW_PORT", "5")
        .env("HEDGEROW_HOST", "127.0.0.3")
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = |key: &str| (keys[key]["value"].clone(), keys[key]["source"].as_str().unwrap().to_owned());
    assert_eq!(told("server.port"), (2.into(), "--port".into()));
    assert_eq!(told("server.host"), ("127.0.0.3".into(), "HEDGEROW_HOST".into()));
    assert_eq!(told("engine.parallel"), (3.into(), path.display().to_string()));
    assert_eq!(told("planning.policy"), ("exact".into(), "default".into()));
}

#[test]
fn the_models_name_may_be_anything_but_nothing() {
    assert!(refused(&["pull", "no-such-model"]).contains("no-such-model"));
}

#[test]
fn completions_know_the_commands_and_their_options() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hedgerow(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).expect("it is text");
        assert!(script.contains("serve") && script.contains("ctx-size"), "{shell}: {script}");
    }
    assert_eq!(hedgerow(&["completions", "dos"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = std::env::temp_dir().join(format!("hedgerow-cli-{}-man", std::process::id()));
    let output = hedgerow(&["man", "--out", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let help = String::from_utf8(hedgerow(&["--help"]).stdout).expect("it is text");
    let commands = help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next());
    let names = commands.expect("--help lists them").lines().filter_map(|line| {
        let is_name = line.starts_with("  ") && !line.starts_with("   ");
        is_name.then(|| line.split_whitespace().next()).flatten()
    });
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.contains(&"serve") && names.contains(&"completions"), "{names:?}");
    for name in names {
        let page = std::fs::read_to_string(folder.join(format!("hedgerow-{name}.1")));
        assert!(page.is_ok_and(|page| page.contains(".SH SYNOPSIS")), "hedgerow-{name}.1");
    }
    assert!(std::fs::read_to_string(folder.join("hedgerow.1")).unwrap().contains("hedgerow\\-serve(1)"));
    std::fs::remove_dir_all(folder).unwrap();
    let file = file("not-a-folder", b"");
    assert!(refused(&["man", "--out", file.to_str().unwrap()]).contains("writing manual pages to"));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn health_tells_a_server_that_serves_from_one_that_does_not() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = refused(&["health", "--url", &format!("http://127.0.0.1:{port}")]);
    assert!(said.contains("does not answer") && said.contains("hint: "), "{said}");
    let Some(server) = support::Server::start(&[]) else { return };
    let output = hedgerow(&["health", "--url", &format!("http://{}/", server.address())]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
}
