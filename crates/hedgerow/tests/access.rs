//! API keys on a real server: who gets in, what each key may use, and that no key is logged.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Answer, Server};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn keys(args: &[&str], file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.arg("keys").args(args).arg("--file").arg(file).output().unwrap()
}

/// Makes a key with these limits.
fn add(file: &Path, name: &str, limits: &[&str]) -> String {
    let made = keys(&[&["add", name], limits].concat(), file);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn hello() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Say hi." }], "max_tokens": 2, "temperature": 0 })
}

fn ask(server: &Server, key: &str, more: &Value) -> Answer {
    let mut body = hello();
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    server.chat(&[("authorization", &format!("Bearer {key}"))], &body)
}

#[test]
fn a_server_with_keys_serves_each_within_its_limits() {
    let file = folder("access").join("keys.toml");
    let plain = add(&file, "plain", &[]);
    let strict = add(&file, "strict", &["--deadline-ms-max", "60000", "--value-max", "5"]);
    let thrifty = add(&file, "thrifty", &["--tokens-per-hour", "10"]);
    let listed = String::from_utf8(keys(&["list"], &file).stdout).unwrap();
    assert!(
        listed.contains("strict: admin = false, deadline_ms_max = 60000.0, models = [], value_max = 5"),
        "{listed}"
    );
    assert!(!keys(&["add", "plain"], &file).status.success(), "a name is there once");
    let flags = ["--keys-file", file.to_str().unwrap()];
    let Some(server) = Server::start_with(&flags, &[("RUST_LOG", "trace")]) else { return };

    for open in ["/health", "/livez", "/version"] {
        assert_eq!(server.get(open).status, 200, "{open} needs no key");
    }
    for headers in [&[][..], &[("authorization", "Bearer hr-wrong")], &[("authorization", "Basic eDp5")]] {
        let refused = server.chat(headers, &hello());
        assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"));
        assert_eq!(refused.json()["error"]["type"], "authentication_error");
        assert_eq!(server.send("GET", "/v1/models", headers, "").status, 401);
    }
    assert_eq!(ask(&server, &plain, &json!({})).status, 200);
    assert_eq!(server.chat(&[("x-api-key", &plain)], &hello()).status, 200);

    let wrong = |key: &str, hedgerow: Value| ask(&server, key, &json!({ "hedgerow": hedgerow })).code();
    assert_eq!(wrong(&plain, json!({ "value": 2 })), "not_allowed");
    assert_eq!(wrong(&strict, json!({ "value": 6, "deadline_ms": 50_000 })), "not_allowed");
    assert_eq!(wrong(&strict, json!({ "deadline_ms": 70_000 })), "not_allowed");
    assert_eq!(wrong(&strict, json!({})), "not_allowed", "no deadline is later than any");
    let in_limits = json!({ "hedgerow": { "value": 5, "deadline_ms": 50_000 } });
    assert_eq!(ask(&server, &strict, &in_limits).status, 200);

    assert_eq!(ask(&server, &thrifty, &json!({})).status, 200, "a budget may be overdrawn by one answer");
    let refused = ask(&server, &thrifty, &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert!(refused.header("retry-after").is_some());

    let late = add(&file, "late", &[]);
    assert_eq!(ask(&server, &late, &json!({})).status, 401);
    let hangup = || Command::new("kill").args(["-HUP", &server.id().to_string()]).status().unwrap();
    hangup();
    server.wait_until("the new key is known", |server| ask(server, &late, &json!({})).status == 200);
    assert_eq!(ask(&server, &thrifty, &json!({})).status, 429, "what was used before counts");
    std::fs::write(&file, "[[key]]\nname = 5").unwrap();
    hangup();
    assert_eq!(ask(&server, &late, &json!({})).status, 200, "the keys in force remain");

    let log = server.log();
    assert!(log.contains("the keys in force remain"), "{log}");
    for key in [&plain, &strict, &thrifty, &late] {
        assert!(!log.contains(key.as_str()), "a key is in the log");
    }
}

#[test]
fn a_server_without_keys_gives_nobody_more_value_than_others() {
    let Some(server) = Server::start(&[]) else { return };
    let mut body = hello();
    body["hedgerow"] = json!({ "value": 1000 });
    let refused = server.chat(&[], &body);
    assert_eq!((refused.status, refused.code().as_str()), (403, "not_allowed"));
    assert!(refused.body.contains("access.anonymous_value_max"), "{}", refused.body);
}
