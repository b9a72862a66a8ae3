//! Tests of the host's limits: usable CPUs, disturbing processes, and a machine that becomes slower.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Group, Limit, Server};

const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/place-cache");

/// A small setup, which is measured in seconds.
const SETUP: [&str; 6] = ["--parallel", "1", "--ctx-size", "256", "--prefill-chunk", "16"];

/// Runs a command until it prints a line with these words; returns all lines up to it.
fn lines_until(mut command: Command, words: &str) -> Vec<String> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok) {
        let is_last = line.contains(words);
        said.push(line);
        if is_last {
            break;
        }
    }
    child.kill().expect("it can be ended");
    child.wait().expect("it ends");
    said
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[test]
fn affinity_and_quota_decide_the_number_of_threads_and_are_named() {
    let Some(model) = support::model() else { return };
    if cpus() < 2 {
        return eprintln!("skipped: one CPU cannot be limited further");
    }
    let _turn = support::alone();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let allowed =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it is there");
    let first = allowed.trim().split(['-', ',']).next().expect("there is a CPU");
    let profile = |mut command: Command| {
        command.arg("profile").arg(&model).arg("--force").args(SETUP).env("HEDGEROW_CACHE", CACHE);
        lines_until(command, "engine threads: ").pop().expect("it says something")
    };
    let mut on_one = Command::new("taskset");
    on_one.args(["-c", first, env!("CARGO_BIN_EXE_hedgerow")]);
    let said = profile(on_one);
    assert!(said.contains("engine threads: 1, because the process's affinity allows 1 of "), "{said}");
    let Some(group) = Group::new("threads", Limit::Cpu(1500)) else { return };
    let said = profile(group.hedgerow());
    assert!(said.contains("engine threads: 1, because the CPU quota is 1.50 CPUs ("), "{said}");
}

/// Processes that keep CPUs busy; ended when dropped.
struct Neighbours(Vec<Child>);

impl Neighbours {
    fn new(count: usize) -> Self {
        let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh is there");
        Self((0..count).map(|_| spin()).collect())
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_disturbed_measurement_is_reported_and_repeated_by_a_later_start() {
    let Some(model) = support::model() else { return };
    let _turn = support::alone();
    let cache = std::env::temp_dir().join(format!("hedgerow-neighbours-{}", std::process::id()));
    let neighbours = Neighbours::new(3 * cpus());
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["profile", "--json"])
        .arg(&model)
        .args(SETUP)
        .env("HEDGEROW_CACHE", &cache)
        .output()
        .expect("the program starts");
    drop(neighbours);
    let said = String::from_utf8(output.stderr).expect("hedgerow writes UTF-8");
    let profile: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let others = profile["disturbed"]["others_percent"].as_u64();
    assert!(others > Some(15), "{profile}");
    // One line at the start and one for each stage, with the precision's name.
    for part in [
        "measuring how fast this machine runs Q4_1",
        "measuring Q4_1: prompts",
        "measuring Q4_1: decodes",
        "measuring Q4_1: steps",
        "was busy while it was measured",
    ] {
        assert!(said.contains(part), "`{part}` in {said}");
    }
    let mut start = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    start.arg("serve").arg(&model).args(SETUP).args(["--port", "0", "--batch-folder", "none"]);
    start.env("HEDGEROW_CACHE", &cache);
    let said = lines_until(start, "hedgerow serves ").join("\n");
    assert!(said.contains("the saved profile was measured while the machine was busy"), "{said}");
    // Other work may run here now, and then the start is right not to repeat it yet.
    let is_repeated = said.contains("; measuring again") && said.contains("its speed is measured");
    assert!(is_repeated || said.contains("and it still is"), "{said}");
    std::fs::remove_dir_all(cache).expect("the folder is ours");
}

/// How a process is slowed to half of its speed.
enum Brake<'a> {
    /// By its CPU quota.
    Quota(&'a Group),
    /// By stopping and continuing it repeatedly, where no quota can be set.
    Stops(&'a AtomicBool),
}

fn stop_and_continue(process: u32, is_over: &AtomicBool) {
    let send = |signal: &str| Command::new("kill").args([signal, &process.to_string()]).status();
    while !is_over.load(Ordering::Relaxed) {
        for signal in ["-STOP", "-CONT"] {
            // It may have ended already.
            let _ = send(signal);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Requests some tokens by a deadline; returns whether it was admitted, and whether it was served completely.
fn ask(server: &Server, deadline_ms: Option<u64>) -> (bool, bool) {
    let headers: Vec<(&str, String)> =
        deadline_ms.map(|ms| ("x-slo-e2e-ms", ms.to_string())).into_iter().collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = server.chat(
        &headers,
        &json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 16, "ignore_eos": true }),
    );
    match answer.status {
        200 => (true, answer.json()["choices"][0]["finish_reason"] == "length"),
        422 | 429 => (false, false),
        other => panic!("{other}: {}", answer.body),
    }
}

#[test]
fn a_machine_that_becomes_half_as_fast_is_calibrated_and_admitted_requests_are_met() {
    let flags = ["--parallel", "4", "--ctx-size", "1024"];
    let group = Group::new("brake", Limit::Cpu(1000 * cpus() as u64));
    let server = match &group {
        Some(group) => Server::start_by(group.hedgerow(), &flags, &[]),
        None => Server::start(&flags),
    };
    let Some(server) = &server else { return };
    let started = std::time::Instant::now();
    (0..4).for_each(|_| assert_eq!(ask(server, None), (true, true)));
    let alone_ms = started.elapsed().as_millis() as u64 / 4;
    let is_over = AtomicBool::new(false);
    let brake = group.as_ref().map_or(Brake::Stops(&is_over), Brake::Quota);
    std::thread::scope(|scope| {
        match brake {
            Brake::Quota(group) => {
                group.set(Limit::Cpu(500 * cpus() as u64)).expect("it could be set before");
            }
            Brake::Stops(is_over) => {
                eprintln!("no CPU quota can be set here: the process is stopped half of the time instead");
                scope.spawn(|| stop_and_continue(server.id(), is_over));
            }
        }
        // Some concurrent requests for the calibration.
        let many = |count: usize, deadline_ms: Option<u64>| {
            let callers = 3;
            // After a rejection, a request without a deadline: the calibration learns from what runs only.
            let ask_one = move || {
                let answer = ask(server, deadline_ms);
                if !answer.0 {
                    ask(server, None);
                }
                answer
            };
            let ask_some = move || (0..count).map(|_| ask_one()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(ask_some)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("it asks")).collect::<Vec<_>>()
        };
        many(8, None);
        // Enough time for a machine of half the speed with three requests at once.
        let answers = many(12, Some(8 * alone_ms));
        is_over.store(true, Ordering::Relaxed);
        let admitted = answers.iter().filter(|answer| answer.0).count();
        let met = answers.iter().filter(|answer| answer.1).count();
        eprintln!("alone {alone_ms} ms: {} asked, {admitted} admitted, {met} met", answers.len());
        assert!(admitted >= answers.len() / 4, "it still admits: {admitted} of {}", answers.len());
        assert!(4 * met >= 3 * admitted, "most are met: {met} of {admitted}");
    });
}
