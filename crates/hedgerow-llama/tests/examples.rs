//! Tests that the examples work, because they are the tutorial.

mod common;

use std::path::PathBuf;
use std::process::Command;

/// The path of an example that cargo built with the tests.
fn example(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let program = tests.parent()?.parent()?.join("examples").join(name);
    let program = program.with_extension(std::env::consts::EXE_EXTENSION);
    program.exists().then_some(program)
}

#[test]
fn two_prompts_are_answered_in_one_batch() {
    let Some(program) = example("two_prompts") else {
        println!("skipped: the example is not built; run all tests of the crate");
        return;
    };
    let Some(model) = common::model_path() else {
        println!("skipped: no model; set HEDGEROW_TEST_MODEL to a GGUF file");
        return;
    };
    let output = Command::new(program).arg(model).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("The capital of France is -> Paris"), "{text}");
}
