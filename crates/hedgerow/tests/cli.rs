//! Tests of the command line: invalid input, help, completions and manual pages.

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

fn hedgerow(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(arguments).env("HEDGEROW_BATCH_FOLDER", "none").output().expect("the program starts")
}

/// Runs it, expects exit code 2, and returns its standard error.
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
fn a_file_that_is_no_model_or_a_truncated_model_is_refused() {
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
fn a_configuration_error_is_reported_with_its_location() {
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
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let path = file("layers.toml", b"[server]\nport = 1\nhost = \"127.0.0.2\"\n[engine]\nparallel = 3\n");
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["config", "--json", "--config", path.to_str().unwrap(), "--port", "2"])
        .env("HEDGEROW_PORT", "5")
        .env("HEDGEROW_HOST", "127.0.0.3")
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let read = |key: &str| (keys[key]["value"].clone(), keys[key]["source"].as_str().unwrap().to_owned());
    assert_eq!(read("server.port"), (2.into(), "--port".into()));
    assert_eq!(read("server.host"), ("127.0.0.3".into(), "HEDGEROW_HOST".into()));
    assert_eq!(read("engine.parallel"), (3.into(), path.display().to_string()));
    assert_eq!(read("planning.policy"), ("exact".into(), "default".into()));
}

#[test]
fn a_closed_output_ends_a_command_quietly() {
    for arguments in [&["config"][..], &["config", "--json"], &["man"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        let output = command.args(arguments).stdout(writer).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn an_unknown_model_name_is_reported() {
    assert!(refused(&["pull", "no-such-model"]).contains("no-such-model"));
}

#[test]
fn completions_contain_the_commands_and_their_options() {
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
fn health_distinguishes_a_serving_server_from_a_missing_one() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = refused(&["health", "--url", &format!("http://127.0.0.1:{port}")]);
    assert!(said.contains("does not answer") && said.contains("hint: "), "{said}");
    let Some(server) = support::Server::start(&[]) else { return };
    let output = hedgerow(&["health", "--url", &format!("http://{}/", server.address())]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
}

#[test]
fn errors_that_can_be_checked_are_reported_before_the_server_listens() {
    let Some(model) = support::model() else { return };
    let model = model.to_str().unwrap();
    let text = file("also.gguf", b"this is not a model");
    let text = text.to_str().unwrap();
    let full = file("full.jsonl", b"something\n");
    let empty = std::env::temp_dir().join(format!("hedgerow-cli-{}-empty.jsonl", std::process::id()));
    let empty = empty.to_str().unwrap();
    for arguments in [
        &["serve", "nosuch.gguf"][..],
        &["serve", text],
        &["serve", model, "--also", "nosuch.gguf"],
        &["serve", model, "--also", &format!("nosuch.gguf=0.9,{text}=0.9")],
        // Its quality is not known.
        &["serve", model, "--also", model],
        &["serve", model, "--record", full.to_str().unwrap()],
        &["serve", model, "--record", "/dev/null/recordings/"],
        &["serve", "nosuch.gguf", "--record", empty],
        &["serve", model, "--policy", "best"],
        &["serve", model, "--host", "two words"],
    ] {
        // An empty cache folder, without profiles and qualities.
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(arguments)
            .args(["--port", "0"])
            .env("HEDGEROW_CACHE", std::env::temp_dir().join("hedgerow-cli-no-cache"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("error: ") && said.contains("hint: ") && !said.contains("listening"), "{said}");
    }
    assert!(!PathBuf::from(empty).exists(), "nothing is left behind");
    std::fs::remove_file(text).unwrap();
    std::fs::remove_file(full).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    for (arguments, named) in [
        (&["simulate", "nosuch.toml"][..], "nosuch.toml"),
        (&["simulate", "--replay", "nosuch.jsonl"], "nosuch.jsonl"),
        (&["plan", "llama-3-8b", "--device", "RTX A6000", "--recording", "nosuch.jsonl"], "nosuch.jsonl"),
        (&["plan", "llama-3-8b", "--device", "RTX A6000", "--arrivals", "trace:nosuch.csv"], "nosuch.csv"),
        (&["sweep", "nosuch.toml"], "nosuch.toml"),
        (&["scenario", "check", "nosuch.toml"], "nosuch.toml"),
        (&["scenario", "show", "nosuch.toml"], "nosuch.toml"),
        (&["solve", "nosuch.json"], "nosuch.json"),
        (&["check", "nosuch.json", "none.json"], "nosuch.json"),
        (&["bench", "simulate", "nosuch.toml"], "nosuch.toml"),
        (&["pull", "nosuch.gguf"], "nosuch.gguf"),
        (&["show", "nosuch.gguf"], "nosuch.gguf"),
        (&["profile", "nosuch.gguf"], "nosuch.gguf"),
        (&["quantize", "nosuch.gguf", "--to", "q8_0"], "nosuch.gguf"),
        (&["config", "--config", "nosuch.toml"], "nosuch.toml"),
    ] {
        let output = hedgerow(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(named) && !said.contains("entity not found"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_host_may_be_a_name() {
    use std::io::{BufRead as _, BufReader};
    let Some(model) = support::model() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .env("HEDGEROW_BATCH_FOLDER", "none")
        .args(["serve", model.to_str().unwrap(), "--host", "localhost", "--port", "0"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listening = lines.find(|line| line.contains("listening"));
    child.kill().unwrap();
    child.wait().unwrap();
    let listening = listening.expect("it listens before it loads the model");
    assert!(listening.contains("127.0.0.1:") || listening.contains("[::1]:"), "{listening}");
    let said = refused(&["serve", model.to_str().unwrap(), "--host", "nosuch.invalid"]);
    assert!(said.contains("`nosuch.invalid`") && said.contains("give --host an IP address"), "{said}");
}

#[test]
fn explain_without_a_server_says_how_to_name_one() {
    // No server listens at a port that was just released.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = refused(&["explain", "req-1", "--url", &format!("http://127.0.0.1:{port}/v1")]);
    assert!(said.contains(&port.to_string()) && said.contains("name the server by --url"), "{said}");
}

#[test]
fn help_lists_the_flags_that_apply_and_is_wrapped() {
    let help = |arguments: &[&str]| {
        let output = hedgerow(&[arguments, &["--help"]].concat());
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let flags_of_serve =
        ["--host", "--port", "--alias", "--also", "--record", "--default-deadline", "--uplink-kbps"];
    for (arguments, others) in
        [(&["profile"][..], &["--policy", "--max-queue", "--weights-gb"][..]), (&["plan"], &[])]
    {
        let help = help(arguments);
        for flag in flags_of_serve.iter().chain(others) {
            assert!(!help.contains(&format!("{flag} <")), "{arguments:?} has {flag}");
        }
        assert!(help.contains("--parallel") && help.contains("--config"), "{help}");
    }
    for arguments in [&["serve"][..], &["config"]] {
        let help = help(arguments);
        for flag in flags_of_serve.iter().filter(|flag| arguments == ["serve"] || **flag != "--record") {
            assert!(help.contains(flag), "{arguments:?} has no {flag}");
        }
    }
    for arguments in [&["serve"][..], &["plan"], &["bench", "serve"], &["simulate"], &["profile"]] {
        for line in help(arguments).lines() {
            assert!(line.chars().count() <= 100, "{arguments:?}: {line}");
        }
    }
}
