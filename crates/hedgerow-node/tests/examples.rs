//! Tests that the example works, because it is the tutorial.

use std::path::PathBuf;
use std::process::Command;

/// The path of an example that cargo built with the tests.
fn example(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let program = tests.parent()?.parent()?.join("examples").join(name);
    program.exists().then_some(program)
}

#[test]
fn a_program_with_a_node_inside_answers_a_request() {
    let Some(program) = example("embed_a_node") else {
        return println!("skipped: the example is not built; run all tests of the crate");
    };
    let named = std::env::var_os("HEDGEROW_TEST_MODEL").map(PathBuf::from);
    let cache = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/hedgerow/models"));
    let cached =
        cache.map(|folder| folder.join("SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|path| path.exists());
    let Some(model) = named.or(cached) else {
        return println!("skipped: the small model is not here; `hedgerow pull` gets it");
    };
    let folder = std::env::temp_dir().join(format!("hedgerow-embedded-{}", std::process::id()));
    let output = Command::new(program).arg(model).env("HEDGEROW_CACHE", &folder).output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("admitted\n") && text.ends_with("\nmet\n") && text.len() > 30, "{text}");
}
