//! Tests of `hedgerow solve` as a program: input files, output lines and exit codes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};

/// One of the files in `examples/instances/`.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/instances").join(name)
}

/// Runs `hedgerow solve`, with a text on its standard input.
fn solve(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.arg("solve").args(arguments).current_dir(example(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program was built for this test");
    // A program that does not read its input may have closed it.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it was started")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("hedgerow writes UTF-8")
}

/// Checks its output without the seconds, which differ from run to run.
fn check_answer(arguments: &[&str], answer: Expect) {
    let output = solve(arguments, "");
    assert!(output.status.success(), "{output:?}");
    let without_seconds = |line: &str| match (line.find(",\"seconds\":"), line.find(",\"binding\":")) {
        (Some(from), Some(to)) => line[..from].to_owned() + &line[to..],
        (_, _) => line.split(" nodes, ").next().unwrap_or_default().to_owned(),
    };
    let lines: Vec<String> = text(output.stdout).lines().map(without_seconds).collect();
    answer.assert_eq(&lines.join("\n"));
}

fn check_error(arguments: &[&str], input: &str, error: Expect) {
    let output = solve(arguments, input);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    error.assert_eq(&text(output.stderr));
}

const FILES: [&str; 4] = ["paper-12.json", "all-tight.json", "dftsp-misses.json", "values.json"];

#[test]
fn prints_one_json_object_for_each_file_and_proves_all_of_them() {
    check_answer(
        &[&["--json"], &FILES[..]].concat(),
        expect![[r#"
        {"name":"paper-12","solver":"exact","status":"optimal","value":4,"bound":4,"chosen":["r1","r6","r10","r11"],"nodes":2,"binding":"uplink"}
        {"name":"all-tight","solver":"exact","status":"optimal","value":7,"bound":7,"chosen":["r0","r3","r4","r7","r8","r12","r14"],"nodes":2,"binding":"uplink"}
        {"name":"dftsp-misses","solver":"exact","status":"optimal","value":2,"bound":2,"chosen":["b","c"],"nodes":1,"binding":"uplink"}
        {"name":"values","solver":"exact","status":"optimal","value":17,"bound":17,"chosen":["r3","r6","r8"],"nodes":7,"binding":"uplink"}"#]],
    );
}

#[test]
fn dftsp_reports_where_its_answer_is_not_proven() {
    check_answer(
        &[&["--json", "--solver", "dftsp"], &FILES[..]].concat(),
        expect![[r#"
            {"name":"paper-12","solver":"dftsp","status":"optimal","value":4,"bound":4,"chosen":["r1","r6","r10","r11"],"nodes":192,"binding":"uplink"}
            {"name":"all-tight","solver":"dftsp","status":"optimal","value":7,"bound":7,"chosen":["r0","r3","r4","r7","r8","r12","r14"],"nodes":196,"binding":"uplink"}
            {"name":"dftsp-misses","solver":"dftsp","status":"feasible","value":1,"bound":2,"chosen":["a"],"nodes":7,"binding":"uplink"}
            {"name":"values","solver":"dftsp","status":"feasible","value":7,"bound":24,"chosen":["r2","r3","r4","r9"],"nodes":112,"binding":"downlink"}"#]],
    );
}

#[test]
fn brute_force_proves_what_it_finds() {
    check_answer(
        &[&["--json", "--solver", "brute-force"], &FILES[..]].concat(),
        expect![[r#"
            {"name":"paper-12","solver":"brute-force","status":"optimal","value":4,"bound":4,"chosen":["r1","r6","r10","r11"],"nodes":8191,"binding":"uplink"}
            {"name":"all-tight","solver":"brute-force","status":"optimal","value":7,"bound":7,"chosen":["r0","r3","r4","r7","r8","r12","r14"],"nodes":131071,"binding":"uplink"}
            {"name":"dftsp-misses","solver":"brute-force","status":"optimal","value":2,"bound":2,"chosen":["b","c"],"nodes":15,"binding":"uplink"}
            {"name":"values","solver":"brute-force","status":"optimal","value":17,"bound":17,"chosen":["r3","r5","r8"],"nodes":2047,"binding":"downlink"}"#]],
    );
}

#[test]
fn every_other_solver_can_be_named() {
    for solver in ["greedy", "edf", "fifo", "static:3", "none:4"] {
        let output = text(solve(&["--json", "--solver", solver, "paper-12.json"], "").stdout);
        assert!(output.contains(&format!(r#""solver":"{solver}""#)), "{output}");
    }
}

#[test]
fn prints_readable_lines_without_json() {
    check_answer(
        &["paper-12.json"],
        expect![[r#"
            name     paper-12
            solver   exact, 2
            value    4 (proven to be the most)
            chosen   4: r1 r6 r10 r11
            binding  uplink"#]],
    );
}

#[test]
fn a_truncated_search_still_gives_a_bound() {
    check_answer(
        &["--json", "--node-limit", "50", "--solver", "dftsp", "paper-12.json"],
        expect![[
            r#"{"name":"paper-12","solver":"dftsp","status":"feasible","value":4,"bound":6,"chosen":["r1","r6","r10","r11"],"nodes":50,"binding":"uplink"}"#
        ]],
    );
    check_answer(
        &["--json", "--node-limit", "0", "--solver", "brute-force", "paper-12.json"],
        expect![[
            r#"{"name":"paper-12","solver":"brute-force","status":"feasible","value":0,"bound":6,"chosen":[],"nodes":0,"binding":"uplink"}"#
        ]],
    );
}

#[test]
fn a_time_limit_of_zero_still_gives_an_answer() {
    let output = solve(&["--json", "--time-limit", "0", "--solver", "dftsp", "paper-12.json"], "");
    assert!(output.status.success());
    assert!(text(output.stdout).contains(r#""status":"feasible""#));
}

#[test]
fn reads_standard_input_and_names_it() {
    let input = std::fs::read_to_string(example("dftsp-misses.json")).expect("it is in the repository");
    let output = text(solve(&["--json", "-"], &input.replace(r#""name": "dftsp-misses","#, "")).stdout);
    assert!(output.starts_with(r#"{"name":"stdin","#), "{output}");
}

#[test]
fn a_bad_number_is_reported_with_its_field_and_a_hint() {
    let input = std::fs::read_to_string(example("dftsp-misses.json")).expect("it is in the repository");
    check_error(
        &["-"],
        &input.replace(r#""memory": 9"#, r#""memory": -9"#),
        expect![[r#"
        error: standard input: capacity.memory: -9 is not a non-negative integer below 2^53

        hint: the format is described in docs/design/model.md §2; examples/instances/ has files that can be solved
    "#]],
    );
}

#[test]
fn a_missing_file_is_reported_with_a_hint() {
    check_error(
        &["absent.json"],
        "",
        expect![[r#"
        error: reading absent.json: No such file or directory (os error 2)

        hint: check the path, or give `-` for standard input
    "#]],
    );
}

#[test]
fn a_bad_file_does_not_keep_the_others_from_being_solved() {
    let output = solve(&["--json", "paper-12.json", "-", "dftsp-misses.json"], "{}");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(output.stdout).lines().count(), 2);
    expect![[r#"
        error: standard input: missing field `format`

        hint: the format is described in docs/design/model.md §2; examples/instances/ has files that can be solved
        error: 1 of 3 files could not be solved

        hint: the reasons are above; the other files were solved
    "#]]
    .assert_eq(&text(output.stderr));
}

#[test]
fn brute_force_refuses_too_many_requests_and_names_another_solver() {
    let request = |index| {
        format!(r#"{{"id":"{index}","uplink":1,"downlink":1,"memory":1,"compute_us":1,"slack_us":9}}"#)
    };
    let requests: Vec<String> = (0..26).map(request).collect();
    let input = format!(
        r#"{{"format":"hedgerow-instance/1","capacity":{{"uplink":9,"downlink":9,"memory":9,"compute_us":9}},"requests":[{}]}}"#,
        requests.join(",")
    );
    check_error(
        &["--solver", "brute-force", "-"],
        &input,
        expect![[r#"
            error: standard input: brute force over 26 requests would visit more nodes than the limit allows; 25 is the most

            hint: leave some out, or choose `--solver exact`
        "#]],
    );
}
