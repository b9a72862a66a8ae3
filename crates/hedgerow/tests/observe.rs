//! What an operator sees of a real server: the log, the metrics, the state.

mod support;

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::Server;

/// Makes a key and its file; the key's secret and the file's path.
fn key() -> (String, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observe");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    let made = command.args(["keys", "add", "tester", "--file"]).arg(&file).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (String::from_utf8(made.stdout).unwrap().trim().to_owned(), file.to_str().unwrap().to_owned())
}

/// A prompt whose words are in no log line.
fn hello(more: &Value) -> Value {
    let content = "Say xylophone.";
    let mut body =
        json!({ "messages": [{ "role": "user", "content": content }], "max_tokens": 3, "temperature": 0 });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The fields of the lines of ended requests.
fn lines(server: &Server) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["fields"].clone()).filter(|fields| fields["message"] == "request ended").collect()
}

#[test]
fn each_request_has_one_line_in_the_log_whether_or_not_the_node_saw_it() {
    let (secret, file) = key();
    let flags = ["--keys-file", &file, "--log-format", "json"];
    let Some(server) = Server::start_with(&flags, &[("RUST_LOG", "info")]) else { return };
    let bearer = format!("Bearer {secret}");
    let own = [("authorization", bearer.as_str())];
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(server.chat(&own, &hello(&json!({}))).header("x-request-id").unwrap().to_owned());
        server.chat(&own, &hello(&json!({ "stream": true })));
        server.chat(&[], &hello(&json!({})));
        server.chat(&own, &hello(&json!({ "n": 2 })));
    }
    server.chat(
        &[own[0], ("x-request-id", "mine")],
        &hello(&json!({ "hedgerow": { "deadline_ms": 3_600_000 } })),
    );
    server.chat(&own, &hello(&json!({ "hedgerow": { "deadline_ms": 1 } })));
    server.send("POST", "/v1/completions", &own, "{");
    // A caller that hangs up in the middle of its answer.
    let endless = hello(&json!({ "stream": true, "max_tokens": 1500, "ignore_eos": true })).to_string();
    let mut stream = server.open("POST", "/v1/chat/completions", &own, &endless);
    stream.read_exact(&mut [0; 600]).unwrap();
    drop(stream);
    server.get("/health");

    server.wait_until("20 lines", |server| lines(server).len() >= 20);
    let lines = lines(&server);
    assert_eq!(lines.len(), 20, "{lines:#?}");
    let count = |outcome: &str, reason: &str| {
        lines.iter().filter(|line| line["outcome"] == outcome && line["reason"] == reason).count()
    };
    assert_eq!(count("rejected", "invalid_api_key"), 4, "{lines:#?}");
    assert_eq!(count("rejected", "invalid_value"), 4, "{lines:#?}");
    assert_eq!(count("rejected", "deadline_infeasible"), 1, "{lines:#?}");
    assert_eq!(count("cancelled", ""), 1, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line["outcome"] == "met").count(), 9, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line["endpoint"] == "/v1/completions").count(), 1, "{lines:#?}");
    for name in &names {
        assert_eq!(lines.iter().filter(|line| line["request"] == **name).count(), 1, "{name}: {lines:#?}");
    }
    for line in lines.iter().filter(|line| line["outcome"] == "met") {
        assert_eq!(
            (&line["status"], &line["key"], &line["model"]),
            (&json!(200), &json!("tester"), &json!("small"))
        );
        assert_eq!(line["produced"], 3, "{line}");
        for field in ["prompt", "cached", "precision", "queue_ms", "ttft_ms", "tpot_ms", "e2e_ms", "streamed"]
        {
            assert!(!line[field].is_null(), "{field} is missing: {line}");
        }
    }
    let mine = lines.iter().find(|line| line["request"] == "mine").unwrap();
    assert_eq!((&mine["client_id"], &mine["deadline_ms"]), (&json!("mine"), &json!(3_600_000.0)));
    assert!(mine["id"].as_str().unwrap().starts_with("req-"), "{mine}");
    let refused = lines.iter().find(|line| line["reason"] == "invalid_api_key").unwrap();
    assert_eq!((&refused["status"], &refused["key"]), (&json!(401), &Value::Null));
    let log = server.log();
    assert!(!log.contains("xylophone") && !log.contains(&secret), "{log}");
}

#[test]
fn the_state_shows_who_runs_and_who_waits_to_operators_only() {
    let Some(server) = Server::start(&["--parallel", "1"]) else { return };
    let idle = server.get("/v1/hedgerow/state").json();
    assert_eq!((&idle["model"], &idle["limits"]["parallel"]), (&json!("small"), &json!(1)), "{idle}");
    assert_eq!((&idle["running"], &idle["waiting"]), (&json!([]), &json!([])), "{idle}");
    assert_eq!(idle["precisions"], json!([{ "precision": "Q4_1", "is_resident": true }]), "{idle}");
    let endless = hello(&json!({ "stream": true, "max_tokens": 1500, "ignore_eos": true })).to_string();
    let mut first = server.open("POST", "/v1/chat/completions", &[], &endless);
    first.read_exact(&mut [0; 600]).unwrap();
    let second = server.open("POST", "/v1/chat/completions", &[], &endless);
    let state = || server.get("/v1/hedgerow/state").json();
    server.wait_until("the second request waits", |_| state()["waiting"][0]["id"].is_string());
    let busy = state();
    let running = &busy["running"][0];
    assert!(running["id"].as_str().unwrap().starts_with("req-"), "{busy}");
    assert_eq!(
        (&running["precision"], &running["expected_tokens"]),
        (&json!("Q4_1"), &json!(1500)),
        "{busy}"
    );
    assert!(
        running["produced_tokens"].as_u64() > Some(0) && running["kv_tokens"].as_u64() > Some(0),
        "{busy}"
    );
    let waiting = &busy["waiting"][0];
    assert_eq!(
        (&waiting["urgency"], &waiting["deadline_in_ms"]),
        (&json!("best_effort"), &Value::Null),
        "{busy}"
    );
    assert!(waiting["prompt_tokens"].as_u64() > Some(0), "{busy}");
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("\nvllm:num_requests_running{model_name=\"small\",engine=\"0\"} 1\n"),
        "{metrics}"
    );
    assert_eq!(server.chat(&[], &hello(&json!({ "n": 2 }))).status, 400);
    assert_eq!(server.metric("hedgerow_error_responses_total{code=\"invalid_value\"}"), 1.0);
    drop((first, second));
    server.wait_until("both have ended", |_| {
        state()["running"] == json!([]) && state()["waiting"] == json!([])
    });
}

#[test]
fn the_events_tell_what_becomes_of_each_request_and_do_not_hold_the_shutdown() {
    let Some(server) = Server::start(&[]) else { return };
    let mut watching = server.open("GET", "/v1/hedgerow/events", &[], "");
    let mut seen = String::new();
    let mut read_until = |what: &str| {
        let mut bytes = [0; 4096];
        while !seen.contains(what) {
            let count = watching.read(&mut bytes).expect("events come");
            assert!(count > 0, "the stream ended before {what}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        seen.clone()
    };
    read_until("text/event-stream");
    let name = server.chat(&[], &hello(&json!({}))).header("x-request-id").unwrap().to_owned();
    let mut refused = hello(&json!({ "max_tokens": 400, "ignore_eos": true }));
    refused["hedgerow"] = json!({ "deadline_ms": 1 });
    assert_eq!(server.chat(&[], &refused).status, 422);
    let seen = read_until("event: refused");
    for event in ["arrived", "started", "ended"] {
        let is_there =
            seen.split("\n\n").any(|one| one.contains(&format!("event: {event}")) && one.contains(&name));
        assert!(is_there, "{event} of {name} in {seen}");
    }
    assert!(server.terminate(), "a watcher does not hold the shutdown");
}
