//! Tests of `hedgerow bench solvers` as a program: the table, the JSON object, files and exit codes.

use std::path::PathBuf;
use std::process::{Command, Output};

use expect_test::{Expect, expect};
use hedgerow_sim::generators::Family;
use serde_json::Value;

/// Flags for a quick run, since these tests check no times.
const QUICK: [&str; 4] = ["--repeat", "1", "--seeds", "2"];

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(["bench", "solvers"]).args(arguments).output().expect("the program was built for this test")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("hedgerow writes UTF-8")
}

fn printed(arguments: &[&str]) -> String {
    let output = bench(&[&QUICK[..], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    text(output.stdout)
}

fn rows(report: &Value) -> &Vec<Value> {
    report["rows"].as_array().expect("a report has rows")
}

fn check_error(arguments: &[&str], error: Expect) {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    error.assert_eq(&text(output.stderr));
}

/// Returns a path for a test's own folder, which does not exist yet.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hedgerow-bench-{}-{name}", std::process::id()))
}

#[test]
fn each_instance_generator_has_a_row_for_each_solver() {
    let printed = printed(&["--requests", "8", "--json"]);
    let report: Value = serde_json::from_str(&printed).expect("it is one JSON object");
    let rows = rows(&report);
    assert_eq!(rows.len(), Family::ALL.len() * 4);
    for family in Family::ALL {
        for solver in ["exact", "greedy", "dftsp", "brute-force"] {
            let is_it = |row: &&Value| row["family"] == family.name() && row["solver"] == solver;
            let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no row of {family}, {solver}"));
            assert_eq!((&row["requests"], &row["instances"]), (&8.into(), &2.into()), "{row}");
            if solver == "exact" || solver == "brute-force" {
                assert_eq!((&row["proven"], &row["gap_max_percent"]), (&2.into(), &0.0.into()), "{row}");
            }
            assert!(row["value_percent"].as_f64().unwrap() <= 100.0, "{row}");
            assert_eq!(row["times_exact"].is_null(), solver == "exact", "{row}");
        }
    }
}

#[test]
fn the_table_has_a_line_for_each_row_and_brute_force_only_where_it_ends() {
    let printed = printed(&["--family", "tight", "--requests", "10,21", "--solver", "exact,brute-force"]);
    let words: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][..4], ["family", "requests", "solver", "instances"]);
    let rows: Vec<&[&str]> =
        words.iter().filter(|words| words[0] == "tight").map(|words| &words[..5]).collect();
    assert_eq!(
        rows,
        [
            ["tight", "10", "exact", "2", "2"],
            ["tight", "10", "brute-force", "2", "2"],
            ["tight", "21", "exact", "2", "2"]
        ]
    );
    let overall: Vec<&str> = printed.lines().filter(|line| line.contains("geometric mean")).collect();
    assert_eq!(overall.len(), 1, "{printed}");
    assert!(overall[0].starts_with("brute-force takes "), "{printed}");
    assert!(overall[0].ends_with("geometric mean over 2 instances of 10 requests"), "{printed}");
}

#[test]
fn it_writes_tables_and_a_plot() {
    let folder = folder("files");
    let out = folder.to_str().unwrap();
    let printed = printed(&["--family", "paper,parity", "--requests", "4,8", "--json", "--out", out]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was written");
    assert_eq!(read("summary.json"), printed);
    let report: Value = serde_json::from_str(&printed).unwrap();
    // Two generators, two sizes and four solvers; two instances of each.
    assert_eq!(rows(&report).len(), 16);
    assert_eq!(read("summary.csv").lines().count(), 1 + 16);
    assert_eq!(read("runs.csv").lines().count(), 1 + 32);
    let svg = read("times.svg");
    assert!(svg.starts_with("<svg") && svg.contains("paper") && svg.contains("brute-force"), "{svg}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_same_seeds_give_the_same_answers() {
    let answers = || {
        let printed = printed(&["--family", "weighted", "--requests", "30", "--solver", "exact", "--json"]);
        let report: Value = serde_json::from_str(&printed).unwrap();
        (rows(&report)[0]["value_sum"].clone(), rows(&report)[0]["nodes_max"].clone())
    };
    assert_eq!(answers(), answers());
}

#[test]
fn a_solver_that_runs_out_of_time_is_skipped_for_the_rest() {
    let printed = printed(&[
        "--family",
        "tight",
        "--requests",
        "200,300",
        "--solver",
        "dftsp,greedy",
        "--json",
        "--patience",
        "1",
        "--time-limit",
        "0.01",
    ]);
    let report: Value = serde_json::from_str(&printed).unwrap();
    let rows: Vec<_> =
        rows(&report).iter().map(|row| (&row["requests"], &row["solver"], &row["instances"])).collect();
    let (first, second) = (Value::from(200), Value::from(300));
    let (dftsp, greedy) = (Value::from("dftsp"), Value::from("greedy"));
    let (one, two) = (Value::from(1), Value::from(2));
    assert_eq!(rows, [(&first, &dftsp, &one), (&first, &greedy, &two), (&second, &greedy, &two)]);
}

#[test]
fn a_run_that_cannot_work_is_refused_before_it_starts() {
    check_error(
        &["--solver", "brute-force", "--requests", "21"],
        expect![[r#"
        error: brute-force is only run up to 20 requests

        hint: ask for fewer requests, or for another solver as well
    "#]],
    );
    check_error(
        &["--out", "/dev/null/folder"],
        expect![[r#"
        error: cannot write /dev/null/folder: Not a directory (os error 20)

        hint: choose another folder by `--out`
    "#]],
    );
    check_error(
        &["--cp-sat", "/nowhere/python"],
        expect![[r#"
        error: /nowhere/python cannot run CP-SAT: No such file or directory (os error 2)

        hint: make one: python3 -m venv ortools && ortools/bin/pip install ortools; then `--cp-sat ortools/bin/python`
    "#]],
    );
}

#[cfg(not(feature = "milp"))]
#[test]
fn the_error_for_a_solver_that_is_not_in_this_build_says_how_to_get_it() {
    check_error(
        &["--solver", "exact,milp"],
        expect![[r#"
        error: the solver `milp` is not in this build of hedgerow

        hint: build it in: cargo build --release --package hedgerow --features milp
    "#]],
    );
}

#[test]
fn the_error_for_a_wrong_name_or_number_lists_the_valid_ones() {
    let said = |arguments: &[&str]| {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        text(output.stderr)
    };
    let error = said(&["--family", "hard"]);
    assert!(error.contains("unknown family `hard`; choose one of paper, anti-correlated"), "{error}");
    let error = said(&["--solver", "magic"]);
    assert!(error.contains("unknown solver `magic`; choose one of brute-force, dftsp, exact"), "{error}");
    let error = said(&["--requests", "0"]);
    assert!(error.contains("must be a whole number from 1 to 100000"), "{error}");
    let error = said(&["--time-limit", "-1"]);
    assert!(error.contains("must be a number of seconds from 0 to 1000000"), "{error}");
    let error = said(&["--repeat", "0"]);
    assert!(error.contains("0 is not in 1.."), "{error}");
}
