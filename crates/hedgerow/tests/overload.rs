//! Tests of an overloaded server: refusals, cancellations and shutdown.

mod support;

use std::net::Shutdown;

use serde_json::{Value, json};
use support::{Answer, Server};

/// A request that keeps the machine busy for a long time.
fn long(stream: bool) -> Value {
    json!({
        "messages": [{ "role": "user", "content": "Tell me a very long story." }],
        "max_tokens": 1500, "ignore_eos": true, "stream": stream,
    })
}

#[test]
fn an_infeasible_request_is_refused_at_once_with_a_retry_time() {
    let Some(server) = Server::start(&["--parallel", "2", "--ctx-size", "4096"]) else { return };
    let body = long(true).to_string();
    // Best-effort requests would leave it a place.
    let later = [("x-slo-e2e-ms", "600000")];
    let busy: Vec<_> = (0..2).map(|_| server.open("POST", "/v1/chat/completions", &later, &body)).collect();
    server.wait_until("two requests run", |server| server.metric("hedgerow_num_requests_running") == 2.0);
    let answer = server.chat(
        &[("x-slo-e2e-ms", "3000")],
        &json!({
            "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 16, "ignore_eos": true,
        }),
    );
    assert_eq!((answer.status, answer.code().as_str()), (429, "deadline_unreachable"), "{}", answer.body);
    let retry_after_ms: f64 =
        answer.header("retry-after-ms").expect("it says when").parse().expect("a number");
    assert!(retry_after_ms > 0.0);
    assert_eq!(answer.header("x-llm-d-request-dropped-reason"), Some("rejected-saturated"));
    drop(busy);
    server.wait_until("the machine is free again", |server| {
        server.metric("hedgerow_num_requests_running") == 0.0
    });
}

#[test]
fn best_effort_streams_leave_a_place_to_a_request_with_a_deadline() {
    let Some(server) = Server::start(&["--parallel", "4", "--ctx-size", "8192"]) else { return };
    let body = long(true).to_string();
    let busy: Vec<_> = (0..4).map(|_| server.open("POST", "/v1/chat/completions", &[], &body)).collect();
    server.wait_until("three run and one waits", |server| {
        let count = |name: &str| server.metric(&format!("hedgerow_num_requests_{name}"));
        (count("running"), count("waiting")) == (3.0, 1.0)
    });
    let answer = server.chat(
        &[("x-slo-e2e-ms", "60000")],
        &json!({
            "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 16, "ignore_eos": true,
        }),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(server.metric("hedgerow_num_requests_running"), 3.0, "the streams go on");
    drop(busy);
}

#[test]
fn two_hundred_cancelled_requests_leave_nothing_behind() {
    let Some(server) = Server::start(&["--parallel", "4", "--ctx-size", "8192", "--max-queue", "300"]) else {
        return;
    };
    // Many are cancelled while they wait, some in prefill, some in decode; half of them stream.
    let mut callers = Vec::new();
    for number in 0..200 {
        let body = long(number % 2 == 0).to_string();
        callers.push(server.open("POST", "/v1/chat/completions", &[], &body));
        if number % 20 == 19 {
            let here = callers.len() as f64;
            server.wait_until("all have arrived", |server| {
                let count = |name: &str| server.metric(&format!("hedgerow_num_requests_{name}"));
                count("running") + count("waiting") == here
            });
            let half = callers.len() / 2;
            let gone = callers.drain(..half).map(|caller| caller.shutdown(Shutdown::Both));
            gone.for_each(|gone| gone.expect("a caller can hang up"));
            server.wait_until("some have gone", |server| {
                let count = |name: &str| server.metric(&format!("hedgerow_num_requests_{name}"));
                count("running") + count("waiting") == here - half as f64
            });
        }
    }
    for caller in callers {
        caller.shutdown(Shutdown::Both).expect("a caller can hang up");
    }
    server.wait_until("all have gone", |server| {
        let cancelled = "hedgerow_requests_total{outcome=\"cancelled\",reason=\"\"}";
        server.get("/metrics").body.contains(cancelled) && server.metric(cancelled) == 200.0
    });
    // The engine's thread may have to end a step before it is notified of the cancellations.
    server.wait_until("nothing is held", |server| {
        let names = ["num_requests_waiting", "num_requests_running", "kv_cache_tokens"];
        names.iter().all(|name| server.metric(&format!("hedgerow_{name}")) == 0.0)
    });
    let answer =
        server.chat(&[], &json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 4 }));
    assert_eq!(answer.status, 200, "and the server keeps serving");
}

#[test]
fn a_full_queue_refuses_before_the_body_is_read() {
    let Some(server) = Server::start(&["--parallel", "1", "--ctx-size", "2048", "--max-queue", "1"]) else {
        return;
    };
    let body = long(true).to_string();
    let running = server.open("POST", "/v1/chat/completions", &[], &body);
    server.wait_until("one runs", |server| server.metric("hedgerow_num_requests_running") == 1.0);
    let waiting = server.open("POST", "/v1/chat/completions", &[], &body);
    server.wait_until("one waits", |server| server.metric("hedgerow_num_requests_waiting") == 1.0);
    let answer = server.chat(&[], &long(true));
    assert_eq!((answer.status, answer.code().as_str()), (429, "queue_full"), "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    drop((running, waiting));
}

#[test]
fn a_shutdown_finishes_what_it_can_and_notifies_the_rest() {
    let file = std::env::temp_dir().join(format!("hedgerow-grace-{}.toml", std::process::id()));
    std::fs::write(&file, "[server]\nshutdown_grace_s = 5\n").expect("a file can be written");
    // Two places for best-effort requests, and one that they leave.
    let flags = ["--parallel", "3", "--ctx-size", "6144", "--config", file.to_str().expect("a plain path")];
    let Some(server) = Server::start(&flags) else { return };
    let short = json!({
        "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 8, "ignore_eos": true, "stream": true,
    });
    let long = server.open("POST", "/v1/chat/completions", &[], &long(true).to_string());
    let short = server.open("POST", "/v1/chat/completions", &[], &short.to_string());
    server.wait_until("both run", |server| server.metric("hedgerow_num_requests_running") == 2.0);
    assert!(server.terminate(), "it ends well");
    let reason = |answer: &Answer| {
        let events = answer.events();
        let event: Value = serde_json::from_str(&events[events.len() - 2]).expect("an event");
        event["choices"][0]["finish_reason"].as_str().expect("a reason").to_owned()
    };
    assert_eq!(reason(&Answer::read(short)), "length");
    assert_eq!(reason(&Answer::read(long)), "shutdown");
    std::fs::remove_file(file).expect("the file is ours");
}
