//! Runs the official OpenAI client, in Python, against a real server.

mod support;

use std::process::Command;

use support::Server;

#[test]
fn the_official_client_chats_streams_and_understands_refusals() {
    let Some(python) = std::env::var_os("HEDGEROW_TEST_PYTHON") else {
        eprintln!("skipped: HEDGEROW_TEST_PYTHON is not set; `cargo xtask test` sets it");
        return;
    };
    let Some(server) = Server::start(&[]) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai_client.py");
    let url = format!("http://{}/v1", server.address());
    let output = Command::new(python).arg(script).arg(url).output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("the official client is content"));
    // One infeasible request, sent once: the client did not retry it.
    let refused = "hedgerow_requests_total{outcome=\"rejected\",reason=\"deadline_infeasible\"}";
    assert_eq!(server.metric(refused), 1.0);
}
