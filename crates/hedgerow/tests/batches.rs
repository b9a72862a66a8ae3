//! Tests of files and batches with the real server and the real model.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Answer, Server};

/// An empty folder for a server's batches.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("batches").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

fn start(folder: &Path) -> Option<Server> {
    let variables = [("HEDGEROW_BATCH_FOLDER", folder.to_str().expect("its name is text"))];
    // One thread does not wait for others, however busy the machine is.
    Server::start_with(&["--parallel", "4", "--threads", "1"], &variables)
}

/// Waits for as long as a busy machine may take.
fn wait_until(server: &Server, what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("never happened: {what}\n{}", server.get("/v1/batches").body);
}

/// Lines of so many tokens each.
fn lines(count: usize, tokens: usize) -> String {
    let line = |number| {
        let body = json!({ "prompt": format!("{number} is"), "max_tokens": tokens, "ignore_eos": true });
        let url = "/v1/completions";
        json!({ "custom_id": format!("line-{number}"), "method": "POST", "url": url, "body": body })
            .to_string()
    };
    (1..=count).map(|number| line(number) + "\n").collect()
}

fn form(text: &str) -> String {
    // Some clients send the purpose after the file.
    format!(
        "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{text}\r\n--x\r\n\
         content-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--\r\n"
    )
}

fn upload(server: &Server, text: &str) -> Answer {
    server.send("POST", "/v1/files", &[("content-type", "multipart/form-data; boundary=x")], &form(text))
}

fn submit(server: &Server, text: &str, window: &str) -> String {
    let file = upload(server, text).json();
    let batch = json!({
        "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": window,
    });
    let answer = server.send("POST", "/v1/batches", &[], &batch.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn batch(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/batches/{id}")).json()
}

fn is_completed(server: &Server, id: &str) -> bool {
    batch(server, id)["status"] == "completed"
}

fn running(server: &Server) -> f64 {
    server.metric("hedgerow_num_requests_running")
}

fn results(server: &Server, file: &Value) -> Vec<Value> {
    let answer = server.get(&format!("/v1/files/{}/content", file.as_str().expect("there is a file")));
    let length = answer.header("content-length").map(str::to_owned);
    assert_eq!(length, Some(answer.body.len().to_string()));
    answer.body.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn the_official_client_submits_batches_and_fetches_their_results() {
    let Some(python) = std::env::var_os("HEDGEROW_TEST_PYTHON") else {
        eprintln!("skipped: HEDGEROW_TEST_PYTHON is not set; `cargo xtask test` sets it");
        return;
    };
    let Some(server) = start(&folder("client")) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/batches.py");
    let url = format!("http://{}/v1", server.address());
    let output = Command::new(python).arg(script).arg(url).output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("the official client is content"));
}

#[test]
fn each_line_is_answered_once_although_the_server_is_killed() {
    let folder = folder("killed");
    let Some(server) = start(&folder) else { return };
    let id = submit(&server, &lines(20, 12), "24h");
    let mut server = server;
    for least in [3, 9] {
        wait_until(&server, "some lines are answered", || {
            batch(&server, &id)["request_counts"]["completed"].as_i64() >= Some(least)
        });
        // Dropping it sends SIGKILL.
        drop(server);
        server = start(&folder).expect("the model is still there");
    }
    wait_until(&server, "the batch is complete", || is_completed(&server, &id));
    let ended = batch(&server, &id);
    assert_eq!(ended["request_counts"], json!({ "total": 20, "completed": 20, "failed": 0 }), "{ended}");
    assert_eq!(ended["error_file_id"], Value::Null);
    let output = results(&server, &ended["output_file_id"]);
    let ids: BTreeSet<&str> = output.iter().filter_map(|line| line["custom_id"].as_str()).collect();
    assert_eq!((output.len(), ids.len()), (20, 20));
    for line in &output {
        assert_eq!(line["response"]["body"]["usage"]["completion_tokens"], 12, "{line}");
    }
}

#[test]
fn a_shutdown_puts_running_lines_back() {
    let folder = folder("shutdown");
    let Some(server) = start(&folder) else { return };
    let id = submit(&server, &lines(6, 60), "24h");
    wait_until(&server, "lines run", || running(&server) > 0.0);
    assert!(server.terminate(), "SIGTERM ends it well");
    let server = start(&folder).expect("the model is still there");
    wait_until(&server, "the batch is complete", || is_completed(&server, &id));
    let output = results(&server, &batch(&server, &id)["output_file_id"]);
    let all = output.iter().all(|line| line["response"]["body"]["choices"][0]["finish_reason"] == "length");
    assert!(output.len() == 6 && all, "{output:?}");
}

#[test]
fn requests_with_a_deadline_are_served_beside_a_batch() {
    let folder = folder("slack");
    let Some(server) = start(&folder) else { return };
    let id = submit(&server, &lines(200, 200), "24h");
    wait_until(&server, "lines run", || running(&server) > 0.0);
    for _ in 0..5 {
        let body = json!({ "messages": [{ "role": "user", "content": "Say hi." }], "max_tokens": 4 });
        let answer = server.chat(&[("x-slo-e2e-ms", "60000")], &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let cancelled = server.send("POST", &format!("/v1/batches/{id}/cancel"), &[], "");
    assert_eq!(cancelled.json()["status"], "cancelling", "{}", cancelled.body);
    wait_until(&server, "nothing runs", || {
        batch(&server, &id)["status"] == "cancelled" && running(&server) == 0.0
    });
}

/// Runs `hedgerow batch`; returns its exit code and what it printed.
fn command(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("batch")
        .args(arguments)
        .env("HEDGEROW_URL", format!("http://{}/v1", server.address()))
        .output()
        .expect("the program starts");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("hedgerow writes UTF-8"))
}

#[test]
fn the_command_submits_waits_fetches_and_cancels() {
    let folder = folder("command");
    let Some(server) = start(&folder.join("batches")) else { return };
    let text = |path: &Path| path.to_str().expect("its name is text").to_owned();
    let input = text(&folder.join("lines.jsonl"));
    assert_eq!(
        command(&server, &["status"]),
        (Some(0), "no batches; `hedgerow batch submit FILE` submits one\n".into())
    );
    std::fs::write(&input, lines(3, 4)).expect("a file can be written");
    let (code, said) = command(&server, &["submit", &input, "--wait", "--window", "1h"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("completed: 3 of 3 requests are done"), "{said}");
    let id = said
        .split_whitespace()
        .find(|word| word.starts_with("batch_"))
        .expect("its id")
        .trim_end_matches(';');
    let output = text(&folder.join("answers.jsonl"));
    assert_eq!(command(&server, &["fetch", id, "-o", &output]).0, Some(0));
    let answers = std::fs::read_to_string(&output).expect("it was written");
    assert_eq!(command(&server, &["fetch", id]), (Some(0), answers.clone()));
    assert_eq!(answers.lines().count(), 3);
    let (code, said) = command(&server, &["fetch", id, "--errors"]);
    assert!(code == Some(2) && said.contains("has no error file"), "{said}");

    let wrong = lines(2, 4).replace("line-2", "line-1");
    std::fs::write(&input, wrong).expect("a file can be written");
    let (code, said) = command(&server, &["submit", &input, "--wait"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("line 2: `custom_id` is that of line 1"), "{said}");

    std::fs::write(&input, lines(200, 200)).expect("a file can be written");
    let (code, said) = command(&server, &["submit", &input, "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let batch: Value = serde_json::from_str(&said).expect("it prints JSON");
    let id = batch["id"].as_str().expect("its id");
    let (code, said) = command(&server, &["fetch", id]);
    assert!(code == Some(2) && said.contains("its files are not made yet"), "{said}");
    assert!(command(&server, &["cancel", id]).1.contains("cancelling"));
    let listed = command(&server, &["status"]).1;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let (code, said) = command(&server, &["status", "batch_none"]);
    assert!(code == Some(2) && said.contains("hint: see the list at /v1/batches"), "{said}");
}

#[test]
fn lines_run_on_a_server_with_keys() {
    let folder = folder("keys");
    let text = |path: &Path| path.to_str().expect("its name is text").to_owned();
    let (keys, store) = (text(&folder.join("keys.toml")), text(&folder.join("batches")));
    let made =
        Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(["keys", "add", "one", "--file", &keys]).output();
    assert!(made.expect("the program starts").status.success());
    let flags = ["--parallel", "4", "--threads", "1", "--keys-file", &keys];
    let Some(server) = Server::start_with(&flags, &[("HEDGEROW_BATCH_FOLDER", &store)]) else { return };
    assert_eq!(server.send("POST", "/v1/completions", &[], r#"{"prompt":"1 is"}"#).status, 401);
    let input = text(&folder.join("lines.jsonl"));
    std::fs::write(&input, lines(3, 4)).expect("a file can be written");
    let (code, said) = command(&server, &["submit", &input, "--wait"]);
    assert!(code == Some(0) && said.contains("completed: 3 of 3 requests are done"), "{said}");
}

#[test]
fn a_server_without_batches_says_why() {
    let folder = folder("refused");
    let Some(server) = Server::start(&["--batch-folder", "none"]) else { return };
    let answer = server.get("/v1/batches");
    assert_eq!((answer.status, answer.code().as_str()), (501, "batches_unavailable"));
    assert!(answer.body.contains("switched off"), "{}", answer.body);
    drop(server);
    let file = folder.join("file");
    std::fs::write(&file, "").expect("a file can be written");
    let server = start(&file.join("batches")).expect("the model is still there");
    let answer = upload(&server, "x");
    assert_eq!((answer.status, answer.code().as_str()), (501, "batches_unavailable"));
    assert!(answer.body.contains("cannot be written"), "{}", answer.body);
}

#[test]
fn a_damaged_database_stops_the_start_with_a_way_out() {
    let Some(model) = support::model() else { return };
    let folder = folder("damaged");
    std::fs::write(folder.join("batches.sqlite"), "this is no database".repeat(1000))
        .expect("it can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("serve")
        .arg(model)
        .args(["--port", "0", "--batch-folder"])
        .arg(&folder)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("is damaged") && said.contains("--batch-folder none"), "{said}");
}
