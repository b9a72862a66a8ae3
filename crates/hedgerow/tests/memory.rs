//! Tests of the memory estimate made before anything is loaded, against llama.cpp's own report and the kernel.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Group, Limit, Server};

/// A cache folder of its own, so that other tests' profiles are not affected.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/memory-cache");

/// Returns the number before ` MB` or ` MiB` that follows some words in a text.
fn number_after(text: &str, words: &str) -> f64 {
    let rest = text.split_once(words).unwrap_or_else(|| panic!("no `{words}` in {text}")).1;
    let number: String = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    number.parse().unwrap_or_else(|_| panic!("no number after `{words}` in {text}"))
}

/// The parts in MB as estimated and as reported, and the resident memory while the engine ran.
struct Compared {
    estimated: String,
    reported: Vec<(String, f64)>,
    resident_mb: f64,
}

impl Compared {
    fn reported_mb(&self, kind: &str) -> f64 {
        self.reported.iter().filter(|(name, _)| name == kind).map(|(_, mb)| mb).sum()
    }
}

/// Runs the program until its engine is measured, and reads both reports.
fn compare(model: &Path, flags: &[&str]) -> Compared {
    let config = std::env::temp_dir().join(format!("hedgerow-memory-{}.toml", std::process::id()));
    std::fs::write(&config, "[planning]\nmax_queue = 1\n").expect("it can be written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("profile")
        .arg(model)
        .args(["--force", "--retained", "0", "--log-level", "info,llama.cpp=debug", "--config"])
        .arg(&config)
        .args(flags)
        .env("HEDGEROW_CACHE", CACHE)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let mut compared = Compared { estimated: String::new(), reported: Vec::new(), resident_mb: 0.0 };
    for line in lines {
        if line.contains("memory: at most") {
            compared.estimated = line;
        } else if let Some((front, _)) = line.split_once(" buffer size = ") {
            let kind = front.rsplit(' ').next().expect("a word stands before it").to_owned();
            compared.reported.push((kind, number_after(&line, " buffer size =") * 1.048_576));
        } else if line.contains("steps with prompts and decodes") {
            // The last stage: all pages in use have been touched.
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
            let status = status.expect("it still runs");
            compared.resident_mb = number_after(&status, "VmRSS:") * 1.024e-3;
            break;
        }
    }
    child.kill().expect("it can be ended");
    child.wait().expect("it ends");
    std::fs::remove_file(config).expect("it is ours");
    compared
}

#[test]
fn each_part_is_at_least_what_llama_cpp_reports_and_at_most_1_3_times_that() {
    let Some(model) = support::model() else { return };
    let _turn = support::alone();
    let setups: [&[&str]; 3] = [
        &["--parallel", "1", "--ctx-size", "512", "--prefill-chunk", "16"],
        &["--parallel", "4", "--ctx-size", "4096", "--ubatch-size", "64", "--prefill-chunk", "32"],
        &["--parallel", "8", "--ctx-size", "16384", "--kv-type", "q8_0", "--prefill-chunk", "16"],
    ];
    for flags in setups {
        let compared = compare(&model, flags);
        let estimated = |part: &str| number_after(&compared.estimated, part);
        let parts = [
            ("weights", compared.reported_mb("model")),
            ("KV cache", compared.reported_mb("KV")),
            ("compute buffers", compared.reported_mb("compute") + compared.reported_mb("output")),
        ];
        for (part, reported) in parts {
            assert!(reported > 0.0, "llama.cpp reports its {part}: {:?}", compared.reported);
            // Estimates are rounded up to whole MB.
            let ratio = estimated(part) / reported;
            let slack = 1.0 / reported;
            assert!((1.0..1.3 + slack).contains(&ratio), "{part} {ratio} {flags:?} {}", compared.estimated);
        }
        let total = estimated("memory: at most");
        let real = compared.resident_mb;
        assert!((real..1.3 * real).contains(&total), "{total} MB worked out, {real} MB resident, {flags:?}");
    }
}

/// Returns the first `--ctx-size` of a hint.
fn proposed_context(said: &str) -> String {
    let hint =
        said.split_once("hint: any one of these fits: ").unwrap_or_else(|| panic!("no hint in {said}")).1;
    let way = hint.split("; ").find(|way| way.starts_with("--ctx-size ")).unwrap_or_else(|| panic!("{hint}"));
    way.trim_start_matches("--ctx-size ").trim().to_owned()
}

#[test]
fn a_setup_too_large_for_a_control_group_is_refused_before_loading_and_the_proposed_one_fits() {
    let Some(model) = support::model() else { return };
    let Some(group) = Group::new("memory", Limit::Memory(150_000_000)) else { return };
    let refused = |group: &Group| {
        let mut command = group.hedgerow();
        command
            .arg("serve")
            .arg(&model)
            .args(["--port", "0", "--max-queue", "16"])
            .env("HEDGEROW_CACHE", CACHE);
        let output = command.output().expect("the program starts");
        let said = String::from_utf8(output.stderr).expect("hedgerow writes UTF-8");
        assert_eq!(output.status.code(), Some(2), "it ends by itself: {said}");
        said
    };
    let said = refused(&group);
    for part in
        ["error: Q4_1 at --parallel 16", " of memory, but ", "150 MB", "97 MB  weights", "755 MB  KV cache"]
    {
        assert!(said.contains(part), "`{part}` in {said}");
    }
    assert!(!said.contains("loading "), "nothing was loaded: {said}");
    assert!(said.contains("hint: use a smaller model"), "{said}");

    group.set(Limit::Memory(400_000_000)).expect("it could be set before");
    let context = proposed_context(&refused(&group));
    let flags = ["--max-queue", "16", "--ctx-size", &context];
    let server = Server::start_by(group.hedgerow(), &flags, &[]).expect("the model is here");
    // Every slot in use, each with nearly the longest context, most of it prompt, which takes least time; each prompt
    // begins differently, so that none is read from the cache.
    let tokens = context.parse::<usize>().expect("a number") / 16;
    let ask = |caller: u32| {
        let content = format!("{caller}{}", " and".repeat(tokens - 96));
        let body = json!({
            "messages": [{ "role": "user", "content": content }], "max_tokens": 32, "ignore_eos": true,
        });
        server.open("POST", "/v1/chat/completions", &[], &body.to_string())
    };
    let callers: Vec<_> = (0..20).map(ask).collect();
    let statuses: Vec<u16> = callers.into_iter().map(|caller| support::Answer::read(caller).status).collect();
    // A few may find the queue full; every one is answered.
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 12, "{statuses:?}");
    assert_eq!(group.killed(), 0);
    drop(server);
}
