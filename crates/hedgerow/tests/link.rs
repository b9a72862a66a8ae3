//! Tests of the link as a resource: answers that share it, answers too large for it, and bodies that do not arrive.

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Answer, Server};

/// A streaming request for a number of tokens.
fn stream(tokens: u32) -> Value {
    json!({
        "messages": [{ "role": "user", "content": "Tell me a story." }],
        "max_tokens": tokens, "ignore_eos": true, "stream": true,
    })
}

#[test]
fn answers_share_the_downlink_and_release_it() {
    // A best-effort request gets 40 of 100 kbit/s: two run, and the third waits.
    let file = std::env::temp_dir().join(format!("hedgerow-link-{}.toml", std::process::id()));
    std::fs::write(&file, "[link]\nleast_kbps = 40\n").expect("a file can be written");
    let flags =
        ["--threads", "1", "--downlink-kbps", "100", "--parallel", "4", "--ctx-size", "8192", "--config"];
    let Some(server) = Server::start(&[&flags[..], &[file.to_str().expect("a plain path")]].concat()) else {
        return;
    };
    std::fs::remove_file(file).expect("the file is ours");
    assert_eq!(server.metric("hedgerow_downlink_share_in_use"), 0.0);
    let body = stream(200).to_string();
    let began = Instant::now();
    let first = server.open("POST", "/v1/chat/completions", &[], &body);
    let second = server.open("POST", "/v1/chat/completions", &[], &body);
    server.wait_until("two run", |server| server.metric("hedgerow_num_requests_running") == 2.0);
    assert_eq!(server.metric("hedgerow_downlink_share_in_use"), 0.8);
    let third = server.open("POST", "/v1/chat/completions", &[], &stream(4).to_string());
    server.wait_until("one waits", |server| server.metric("hedgerow_num_requests_waiting") == 1.0);
    let (first, second, third) = (Answer::read(first), Answer::read(second), Answer::read(third));
    assert_eq!((first.status, second.status, third.status), (200, 200, 200));
    // 200 events of about 200 bytes; only TCP's initial burst arrives faster than 5,000 bytes per second.
    let bytes = first.body.len();
    let least = Duration::from_secs_f64(bytes as f64 / 5_000.0 / 2.0);
    assert!(began.elapsed() > least, "{bytes} bytes and more in {:?}", began.elapsed());
    server.wait_until("all is free", |server| server.metric("hedgerow_downlink_share_in_use") == 0.0);
    let sent = server.metric("hedgerow_downlink_bytes_total");
    assert!(sent > (first.body.len() + second.body.len()) as f64, "{sent} bytes");

    refuses_an_answer_too_large_for_the_link(&server);
    counts_sending_into_the_deadline(&server);
    refuses_a_rate_that_the_link_cannot_carry(&server);
}

fn refuses_an_answer_too_large_for_the_link(server: &Server) {
    // About 80 kB, where the link carries 12.5 kB in that second.
    let answer = server.chat(&[("x-slo-e2e-ms", "1000")], &stream(400));
    assert_eq!((answer.status, answer.code().as_str()), (422, "band_exceeded"), "{}", answer.body);
    let error = answer.json()["error"].clone();
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("up to 400 tokens") && message.contains("carries 12500 bytes in the 1.00 s"));
    let hint = error["hint"].as_str().expect("a hint");
    assert!(hint.contains("a deadline later than") && hint.contains("lower `max_tokens` to"), "{hint}");
    assert_eq!(server.metric("hedgerow_requests_total{outcome=\"rejected\",reason=\"band_exceeded\"}"), 1.0);
}

fn counts_sending_into_the_deadline(server: &Server) {
    // One token with its framing, 1.5 kB, takes about 120 ms on this link, so too little time is left.
    let one = json!({
        "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 1, "stream": true,
        "hedgerow": { "deadline_ms": 125 },
    });
    let answer = server.chat(&[], &one);
    assert_eq!((answer.status, answer.code().as_str()), (422, "deadline_infeasible"), "{}", answer.body);
    let error = answer.json()["error"].clone();
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.starts_with("deadline of 125 ms is shorter than the fastest possible run, "),
        "{message}"
    );
    let enough = json!({
        "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 8, "stream": true,
        "hedgerow": { "deadline_ms": 20_000 },
    });
    let answer = server.chat(&[], &enough);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn refuses_a_rate_that_the_link_cannot_carry(server: &Server) {
    let mut body = stream(8);
    body["hedgerow"] = json!({ "tpot_ms": 5 });
    let answer = server.chat(&[], &body);
    assert_eq!((answer.status, answer.code().as_str()), (422, "band_exceeded"), "{}", answer.body);
    let error = answer.json()["error"].clone();
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.starts_with("its TPOT target needs ") && message.contains("carries 100000 bit/s"),
        "{message}"
    );
}

#[test]
fn a_body_that_does_not_arrive_releases_its_slot() {
    let file = std::env::temp_dir().join(format!("hedgerow-body-{}.toml", std::process::id()));
    std::fs::write(&file, "[limits]\nbody_timeout_s = 1\n").expect("a file can be written");
    let config = file.to_str().expect("a plain path");
    let Some(server) =
        Server::start(&["--threads", "1", "--max-queue", "1", "--uplink-kbps", "80", "--config", config])
    else {
        return;
    };
    std::fs::remove_file(file).expect("the file is ours");
    let begin = |headers: &str| {
        let mut stream = TcpStream::connect(server.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        let text = format!("POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{{\"prompt\":");
        stream.write_all(text.as_bytes()).expect("the server reads");
        stream
    };
    let refused = |stream: TcpStream| {
        let answer = Answer::read(stream);
        assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"), "{}", answer.body);
        answer.json()["error"]["message"].as_str().expect("a message").to_owned()
    };
    let slow = begin("content-length: 100\r\nx-slo-e2e-ms: 300\r\n");
    assert_eq!(refused(slow), "10 bytes of the body were here when its deadline of 300 ms had passed");
    let slow = begin("content-length: 100\r\n");
    assert_eq!(
        refused(slow),
        "10 bytes of the body were here after 1.00 s, the longest that a body may take"
    );
    // The only slot is free again.
    let answer =
        server.chat(&[], &json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 2 }));
    assert_eq!(answer.status, 200, "{}", answer.body);

    // 10,000 bytes take a second on this uplink, so the body is not read at all.
    let answer = Answer::read(begin("content-length: 10000\r\nx-slo-e2e-ms: 900\r\n"));
    assert_eq!((answer.status, answer.code().as_str()), (422, "band_exceeded"), "{}", answer.body);
    let text = server.get("/metrics").body;
    assert!(text.contains("hedgerow_uplink_seconds_count 3"), "{text}");
    assert!(server.metric("hedgerow_uplink_bytes_total") > 20.0);
}
