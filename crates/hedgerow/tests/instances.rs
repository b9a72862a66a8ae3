//! Tests of `hedgerow instances` as a program: files, standard output and exit codes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::{Expect, expect};

fn hedgerow(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.arg(name).args(arguments).output().expect("the program was built for this test")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("hedgerow writes UTF-8")
}

/// Returns its standard output for one instance.
fn printed(arguments: &[&str]) -> String {
    let output = hedgerow("instances", arguments);
    assert!(output.status.success(), "{output:?}");
    text(output.stdout)
}

fn check_error(arguments: &[&str], error: Expect) {
    let output = hedgerow("instances", arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    error.assert_eq(&text(output.stderr));
}

/// Returns a path for a test's own folder, which does not exist yet.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hedgerow-instances-{}-{name}", std::process::id()))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("it was made");
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn one_instance_goes_to_standard_output_and_does_not_change() {
    expect![[r#"
        { "format": "hedgerow-instance/1", "name": "weighted-n3-s7",
          "capacity": { "uplink": 45269, "downlink": 41384, "memory": 280830429, "compute_us": 121600 },
          "requests": [
            { "id": "r0", "uplink": 32639, "downlink": 43419, "memory": 291264740, "compute_us": 72723, "slack_us": 115520, "value": 4 },
            { "id": "r1", "uplink": 43042, "downlink": 11100, "memory": 277030753, "compute_us": 45526, "slack_us": 243200, "value": 5 },
            { "id": "r2", "uplink": 37493, "downlink": 48941, "memory": 133780580, "compute_us": 185751, "slack_us": 115520, "value": 2 }
          ] }
    "#]].assert_eq(&printed(&["--family", "weighted", "--requests", "3", "--seeds", "7..8"]));
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_seed_another() {
    let of_seed = |seeds| printed(&["--family", "adversarial", "--requests", "12", "--seeds", seeds]);
    assert_eq!(of_seed("3..4"), of_seed("3..4"));
    assert_ne!(of_seed("3..4"), of_seed("4..5"));
}

#[test]
fn every_file_it_writes_can_be_solved() {
    let folder = folder("solved");
    let output =
        hedgerow("instances", &["--requests", "10,20", "--seeds", "2", "--out", folder.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(text(output.stderr), format!("wrote 40 instances into {}\n", folder.display()));
    let names = names(&folder);
    assert_eq!(names.len(), 40);
    assert!(names.contains("paper-n10-s0.json") && names.contains("adversarial-n20-s1.json"), "{names:?}");
    let paths: Vec<String> = names.iter().map(|name| folder.join(name).display().to_string()).collect();
    let mut arguments = vec!["--json", "--solver", "greedy"];
    arguments.extend(paths.iter().map(String::as_str));
    let output = hedgerow("solve", &arguments);
    assert!(output.status.success(), "{output:?}");
    for (line, name) in text(output.stdout).lines().zip(&names) {
        let name = name.strip_suffix(".json").unwrap();
        assert!(line.starts_with(&format!(r#"{{"name":"{name}","#)), "{line}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn generators_named_twice_are_written_once() {
    let folder = folder("once");
    let arguments = ["--family", "tight,parity", "--family", "tight", "--requests", "5,5"];
    for _ in 0..2 {
        let output = hedgerow("instances", &[&arguments[..], &["--out", folder.to_str().unwrap()]].concat());
        assert_eq!(text(output.stderr), format!("wrote 2 instances into {}\n", folder.display()));
    }
    assert_eq!(names(&folder), ["parity-n5-s0.json", "tight-n5-s0.json"].map(str::to_owned).into());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn standard_output_takes_only_one_instance() {
    check_error(
        &[],
        expect![[r#"
        error: 10 instances do not fit standard output, which takes one

        hint: give a folder by `--out`, or ask for one family, one size and one seed
    "#]],
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    check_error(
        &["--out", "/dev/null/folder"],
        expect![[r#"
        error: cannot write /dev/null/folder: Not a directory (os error 20)

        hint: choose another folder by `--out`
    "#]],
    );
}

#[test]
fn too_many_instances_are_refused() {
    check_error(
        &["--seeds", "18446744073709551615", "--out", "unused"],
        expect![[r#"
        error: 18446744073709551615 instances are more than 100000 at once

        hint: ask for fewer seeds, sizes or families
    "#]],
    );
}

#[test]
fn the_error_for_an_unknown_generator_lists_the_known_ones() {
    check_error(
        &["--family", "tight,hard"],
        expect![[r#"
        error: invalid value 'hard' for '--family <NAME>': unknown family `hard`; choose one of paper, anti-correlated, tight, near-ties, deadlines, weighted, correlated, one-limit, parity, adversarial

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn the_error_for_a_wrong_number_gives_the_range() {
    check_error(
        &["--requests", "0"],
        expect![[r#"
        error: invalid value '0' for '--requests <N>': must be a whole number from 1 to 100000

        For more information, try '--help'.
    "#]],
    );
    check_error(
        &["--requests", "10,100001"],
        expect![[r#"
        error: invalid value '100001' for '--requests <N>': must be a whole number from 1 to 100000

        For more information, try '--help'.
    "#]],
    );
    check_error(
        &["--seeds", "8..5"],
        expect![[r#"
        error: invalid value '8..5' for '--seeds <COUNT|A..B>': must be a number of seeds, 1 or more, or a range like 5..8, which is 5, 6 and 7

        For more information, try '--help'.
    "#]],
    );
    check_error(
        &["--seeds", "0"],
        expect![[r#"
        error: invalid value '0' for '--seeds <COUNT|A..B>': must be a number of seeds, 1 or more, or a range like 5..8, which is 5, 6 and 7

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn the_help_describes_each_generator() {
    let help = printed(&["--help"]);
    for family in hedgerow_sim::generators::Family::ALL {
        let first_words: String = family.description().chars().take(30).collect();
        assert!(help.contains(family.name()) && help.contains(&first_words), "{family}: {help}");
    }
}
