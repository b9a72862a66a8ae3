//! Tests of `hedgerow check` as a program: correct answers, and every kind of wrong one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::{Expect, expect};

/// An instance in which requests `a` and `b` use every limit exactly.
const FULL: &str = r#"{
  "format": "hedgerow-instance/1",
  "name": "full",
  "capacity": { "uplink": 10, "downlink": 20, "memory": 30, "compute_us": 40 },
  "requests": [
    { "id": "a", "uplink": 4, "downlink": 8, "memory": 12, "compute_us": 16, "slack_us": 50, "value": 2 },
    { "id": "b", "uplink": 6, "downlink": 12, "memory": 18, "compute_us": 24, "slack_us": 40, "value": 3 },
    { "id": "c", "uplink": 0, "downlink": 0, "memory": 0, "compute_us": 1, "slack_us": 60, "value": 1 }
  ]
}"#;

/// A correct answer to it.
const ANSWER: &str = r#"{"name":"full","solver":"by-hand","status":"optimal","value":5,"bound":5,"chosen":["a","b"],"nodes":0,"seconds":0.5,"binding":"compute"}"#;

/// One of the files in `examples/instances/`.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/instances").join(name)
}

/// Runs hedgerow, with a text on its standard input.
fn hedgerow(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(arguments).current_dir(example(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program was built for this test");
    // A program that does not read its input may have closed it.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it was started")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("hedgerow writes UTF-8")
}

/// Checks answers to an instance that is not one of the examples.
fn check(instance: &str, answers: &str, arguments: &[&str]) -> Output {
    // Tests run in parallel, so each call uses its own file.
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("check-{}.json", FILES.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, instance).expect("the folder for tests can be written");
    hedgerow(&[&["check", path.to_str().expect("it is UTF-8"), "-"], arguments].concat(), answers)
}

/// Checks the error for the correct answer after a change to it.
fn check_change(from: &str, to: &str, exit_code: i32, error: Expect) {
    assert!(ANSWER.contains(from), "{from}");
    check_answers(&ANSWER.replace(from, to), exit_code, error);
}

fn check_answers(answers: &str, exit_code: i32, error: Expect) {
    let output = check(FULL, answers, &[]);
    assert_eq!(output.status.code(), Some(exit_code), "{output:?}");
    error.assert_eq(&text(output.stderr));
}

/// Checks the error for the correct answer after one limit of its instance is lowered by a unit.
fn check_limit(from: &str, to: &str, error: Expect) {
    assert!(FULL.contains(from), "{from}");
    let output = check(&FULL.replace(from, to), ANSWER, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    error.assert_eq(&text(output.stderr));
}

#[test]
fn all_solvers_answers_to_the_examples_are_correct_and_consistent() {
    for name in ["paper-12.json", "all-tight.json", "dftsp-misses.json", "values.json"] {
        let mut solvers = vec!["brute-force", "dftsp", "greedy", "edf", "fifo", "static:3", "none:4"];
        if cfg!(feature = "milp") {
            solvers.push("milp");
        }
        let mut answers = String::new();
        for &solver in &solvers {
            answers += &text(hedgerow(&["solve", "--json", "--solver", solver, name], "").stdout);
        }
        assert_eq!(answers.lines().count(), solvers.len());
        let output = hedgerow(&["check", name, "-"], &answers);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            text(output.stdout).lines().filter(|line| line.starts_with("ok: ")).count(),
            solvers.len()
        );
    }
}

#[test]
fn a_correct_answer_is_shown_with_what_it_uses() {
    let output = hedgerow(&["solve", "--json", "--solver", "brute-force", "paper-12.json"], "");
    let output = hedgerow(&["check", "paper-12.json", "-"], &text(output.stdout));
    expect![[r#"
        ok: brute-force, optimal, value 4, bound 4, 4 of 12 requests, uses uplink 71 %, downlink 12 %, memory 49 %, compute 44 %, deadline 95 %
    "#]].assert_eq(&text(output.stdout));
}

#[test]
fn limits_may_be_used_exactly() {
    let output = check(FULL, ANSWER, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    expect![[r#"
        {"solver":"by-hand","ok":true,"status":"optimal","value":5,"bound":5,"chosen":2,"requests":3,"uses":[{"limit":"uplink","used":10,"allowed":10},{"limit":"downlink","used":20,"allowed":20},{"limit":"memory","used":30,"allowed":30},{"limit":"compute","used":40,"allowed":40},{"limit":"deadline","used":40,"allowed":40}],"wrong":null}
    "#]].assert_eq(&text(output.stdout));
}

#[test]
fn an_answer_may_come_without_a_name_over_several_lines_and_from_a_file() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("an-answer.json");
    let answer = ANSWER.replace(r#""name":"full","#, "").replace(',', ",\n");
    std::fs::write(&path, answer).expect("the folder for tests can be written");
    let output = hedgerow(&["check", "-", path.to_str().expect("it is UTF-8")], FULL);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_empty_batch_has_value_zero() {
    let empty = ANSWER.replace(r#""value":5"#, r#""value":0"#).replace(r#"["a","b"]"#, "[]");
    let output = check(FULL, &empty.replace("optimal", "feasible"), &[]);
    expect![[r#"
        ok: by-hand, feasible, value 0, bound 5, 0 of 3 requests, uses uplink 0 %, downlink 0 %, memory 0 %, compute 0 %
    "#]].assert_eq(&text(output.stdout));
}

#[test]
fn an_unknown_request_is_wrong() {
    check_change(
        r#"["a","b"]"#,
        r#"["a","d"]"#,
        1,
        expect![[r#"
        error: standard input: chosen[1]: the instance has no request `d`

        hint: each chosen id is one of the instance's `requests[].id`
    "#]],
    );
}

#[test]
fn a_request_named_twice_is_wrong() {
    check_change(
        r#"["a","b"]"#,
        r#"["a","b","a"]"#,
        1,
        expect![[r#"
        error: standard input: chosen[2]: request `a` is also chosen[0]

        hint: a request is served once or not at all; name it once
    "#]],
    );
}

#[test]
fn the_uplink_broken_by_one_unit_is_wrong() {
    check_limit(
        r#""uplink": 10"#,
        r#""uplink": 9"#,
        expect![[r#"
        error: standard input: chosen: the batch breaks the uplink limit: 10 of 9

        hint: the chosen requests' `uplink` must add up to at most the instance's `capacity.uplink`
    "#]],
    );
}

#[test]
fn the_downlink_broken_by_one_unit_is_wrong() {
    check_limit(
        r#""downlink": 20"#,
        r#""downlink": 19"#,
        expect![[r#"
        error: standard input: chosen: the batch breaks the downlink limit: 20 of 19

        hint: the chosen requests' `downlink` must add up to at most the instance's `capacity.downlink`
    "#]],
    );
}

#[test]
fn memory_broken_by_one_unit_is_wrong() {
    check_limit(
        r#""memory": 30"#,
        r#""memory": 29"#,
        expect![[r#"
        error: standard input: chosen: the batch breaks the memory limit: 30 of 29

        hint: the chosen requests' `memory` must add up to at most the instance's `capacity.memory`
    "#]],
    );
}

#[test]
fn compute_broken_by_one_unit_is_wrong() {
    check_limit(
        r#""compute_us": 40"#,
        r#""compute_us": 39"#,
        expect![[r#"
        error: standard input: chosen: the batch breaks the compute limit: 40 of 39

        hint: the chosen requests' `compute_us` must add up to at most the instance's `capacity.compute_us`
    "#]],
    );
}

#[test]
fn a_deadline_broken_by_one_unit_is_wrong_and_the_request_is_named() {
    check_limit(
        r#""slack_us": 40"#,
        r#""slack_us": 39"#,
        expect![[r#"
        error: standard input: chosen: the batch breaks the deadline limit: 40 of 39

        hint: all finish together, so the chosen requests' `compute_us` must add up to at most each one's `slack_us`, also that of `b`
    "#]],
    );
}

#[test]
fn a_value_that_is_not_the_sum_is_wrong() {
    check_change(
        r#""value":5"#,
        r#""value":4"#,
        1,
        expect![[r#"
        error: standard input: value: 4 is not 5, the value of the chosen requests

        hint: the value is the sum of the chosen requests' values, each 1 where none is given
    "#]],
    );
}

#[test]
fn a_bound_below_the_value_is_wrong() {
    check_change(
        r#""bound":5"#,
        r#""bound":4"#,
        1,
        expect![[r#"
        error: standard input: bound: 4 is below 5, the value of the chosen requests

        hint: no batch has a higher value than the bound, this one included
    "#]],
    );
}

#[test]
fn optimal_with_a_bound_above_the_value_is_wrong() {
    check_change(
        r#""bound":5"#,
        r#""bound":6"#,
        1,
        expect![[r#"
        error: standard input: status: `optimal` with a value of 5 and a bound of 6 is not proven

        hint: an answer whose bound is above its value is `feasible`
    "#]],
    );
    let output = check(FULL, &ANSWER.replace("optimal", "feasible"), &[]);
    assert!(output.status.success(), "feasible is never wrong: {output:?}");
}

#[test]
fn another_instances_answer_is_wrong() {
    check_change(
        r#""name":"full""#,
        r#""name":"empty""#,
        1,
        expect![[r#"
        error: standard input: name: the answer is to `empty`, the instance is `full`

        hint: give the instance that was solved; a name may also be left out
    "#]],
    );
}

#[test]
fn a_value_above_anothers_bound_contradicts_it() {
    let lower = r#"{"solver":"sure","status":"feasible","value":2,"bound":4,"chosen":["a"],"nodes":0,"seconds":0,"binding":"none"}"#;
    check_answers(
        &format!("{lower}\n{ANSWER}\n"),
        1,
        expect![[r#"
        error: standard input: answer 1: bound: 4 is below 5, the value of the batch of answer 2 (by-hand)

        hint: that batch keeps every limit, so this answer's solver gave a bound that is not one
    "#]],
    );
}

#[test]
fn two_optimal_answers_of_different_value_contradict_each_other() {
    let lower = r#"{"solver":"sure","status":"optimal","value":3,"bound":3,"chosen":["b"],"nodes":0,"seconds":0,"binding":"none"}"#;
    check_answers(
        &format!("{ANSWER}\n{lower}\n"),
        1,
        expect![[r#"
        error: standard input: answer 2: bound: 3 is below 5, the value of the batch of answer 1 (by-hand)

        hint: that batch keeps every limit, so this answer's solver gave a bound that is not one
    "#]],
    );
}

#[test]
fn a_wrong_answer_contradicts_no_other_and_does_not_stop_the_checks() {
    let wrong = ANSWER.replace(r#""value":5,"bound":5"#, r#""value":9,"bound":9"#);
    let output = check(FULL, &format!("{wrong}\n{ANSWER}\n"), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    expect![[r#"
        {"solver":"by-hand","ok":false,"status":"optimal","value":9,"bound":9,"chosen":2,"requests":3,"uses":[],"wrong":"value: 9 is not 5, the value of the chosen requests"}
        {"solver":"by-hand","ok":true,"status":"optimal","value":5,"bound":5,"chosen":2,"requests":3,"uses":[{"limit":"uplink","used":10,"allowed":10},{"limit":"downlink","used":20,"allowed":20},{"limit":"memory","used":30,"allowed":30},{"limit":"compute","used":40,"allowed":40},{"limit":"deadline","used":40,"allowed":40}],"wrong":null}
    "#]].assert_eq(&text(output.stdout));
}

#[test]
fn a_missing_field_is_bad_input() {
    check_change(
        r#""bound":5,"#,
        "",
        2,
        expect![[r#"
        error: standard input: missing field `bound`

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
}

#[test]
fn an_unknown_field_is_bad_input() {
    check_change(
        r#""nodes":0"#,
        r#""nodes":0,"gap":0"#,
        2,
        expect![[r#"
        error: standard input: gap: unknown field `gap`, expected one of `name`, `solver`, `status`, `value`, `bound`, `chosen`, `nodes`, `seconds`, `binding`

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
}

#[test]
fn a_wrong_type_is_bad_input_and_its_field_is_named() {
    check_change(
        r#"["a","b"]"#,
        r#"["a",2]"#,
        2,
        expect![[r#"
        error: standard input: chosen[1]: invalid type: integer `2`, expected a string

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
    check_change(
        r#""value":5"#,
        r#""value":-5"#,
        2,
        expect![[r#"
            error: standard input: value: this is not a non-negative integer

            hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
        "#]],
    );
    check_change(
        r#""value":5"#,
        r#""value":"5""#,
        2,
        expect![[r#"
        error: standard input: value: this is not a non-negative integer

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
    check_change(
        "0.5",
        "-0.5",
        2,
        expect![[r#"
        error: standard input: seconds: -0.5 is not a number of seconds, 0 or more

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
    check_answers(
        &format!("{ANSWER}\n[]"),
        2,
        expect![[r#"
        error: standard input: answer 2: invalid type: sequence, expected an object

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
}

#[test]
fn an_unknown_enum_value_is_bad_input() {
    check_change(
        r#""optimal""#,
        r#""best""#,
        2,
        expect![[r#"
        error: standard input: status: unknown variant `best`, expected `optimal` or `feasible`

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
    check_change(
        r#""binding":"compute""#,
        r#""binding":"gpu""#,
        2,
        expect![[r#"
        error: standard input: binding: unknown variant `gpu`, expected one of `uplink`, `downlink`, `memory`, `compute`, `deadline`, `none`

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
}

#[test]
fn invalid_json_is_bad_input() {
    check_answers(
        "value 5",
        2,
        expect![[r#"
        error: standard input: expected value at line 1 column 1

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
    check_answers(
        "",
        2,
        expect![[r#"
        error: standard input: EOF while parsing a value at line 1 column 0

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
    check_answers(
        &format!("{ANSWER}}}"),
        2,
        expect![[r#"
        error: standard input: answer 2: expected value at line 1 column 137

        hint: an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it
    "#]],
    );
}

#[test]
fn a_bad_instance_or_a_missing_file_is_bad_input() {
    let output = hedgerow(&["check", "-", "paper-12.json"], "{}");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    expect![[r#"
        error: standard input: missing field `format`

        hint: the format is described in docs/design/model.md §2; examples/instances/ has files that can be solved
    "#]]
    .assert_eq(&text(output.stderr));
    let output = hedgerow(&["check", "paper-12.json", "absent.json"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    expect![[r#"
        error: reading absent.json: No such file or directory (os error 2)

        hint: check the path, or give `-` for standard input
    "#]]
    .assert_eq(&text(output.stderr));
    let output = hedgerow(&["check", "-", "-"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    expect![[r#"
        error: standard input cannot be both the instance and the answer

        hint: give one of them as a file
    "#]]
    .assert_eq(&text(output.stderr));
}
