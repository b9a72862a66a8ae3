//! The steps of `cargo xtask test` as data: edit this list to change what is checked.

use std::fmt::Write;

use crate::shell::Failure;

/// A step of `cargo xtask test`.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// Whether no later step can pass if this one fails.
    pub(crate) is_needed_by_the_rest: bool,
}

/// The action of a step.
#[derive(Debug)]
pub(crate) enum Work {
    /// Cargo with these arguments.
    Cargo(&'static [&'static str]),
    /// `cargo doc` with warnings as errors.
    Doc(&'static [&'static str]),
    /// Cargo's tests, with the paths of the small model and the Python packages in the environment.
    Tests(&'static [&'static str]),
    /// The server's program with these arguments.
    Hedgerow(&'static [&'static str]),
    /// The checks in `tidy/`.
    Tidy,
    /// The comparison in `instructions.rs`; skipped without valgrind.
    Instructions,
    /// The check in `package/check.rs`; skipped where packages cannot be tested.
    Package,
}

/// The cargo arguments that build the server, for the step `build`.
///
/// All steps use the release profile, because another one would compile llama.cpp again.
pub(crate) const BUILD_SERVER: &[&str] = &["build", "--release", "--locked", "--package", "hedgerow"];

/// The cargo arguments that build what `demo` needs: the server without the lab. llama.cpp has the same features in
/// both, so that a full build later does not compile it again.
pub(crate) const BUILD_DEMO: &[&str] =
    &["build", "--release", "--locked", "--package", "hedgerow", "--no-default-features"];

/// The steps in their order: first those that fail fast, then those that need the server and the model.
const STEPS: &[Step] = &[
    Step { name: "fmt", work: Work::Cargo(&["fmt", "--all", "--check"]), is_needed_by_the_rest: false },
    Step { name: "tidy", work: Work::Tidy, is_needed_by_the_rest: false },
    Step {
        name: "clippy",
        work: Work::Cargo(&[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
        is_needed_by_the_rest: false,
    },
    Step { name: "build", work: Work::Cargo(BUILD_SERVER), is_needed_by_the_rest: true },
    Step { name: "model", work: Work::Hedgerow(&["pull"]), is_needed_by_the_rest: true },
    Step {
        name: "test",
        work: Work::Tests(&["test", "--release", "--workspace", "--locked", "--no-fail-fast"]),
        is_needed_by_the_rest: false,
    },
    // The feature is off by default, so it needs a test of its own.
    Step {
        name: "milp",
        work: Work::Cargo(&[
            "test",
            "--release",
            "--locked",
            "--package",
            "hedgerow",
            "--features",
            "milp",
            "--lib",
            "milp",
        ]),
        is_needed_by_the_rest: false,
    },
    Step { name: "instructions", work: Work::Instructions, is_needed_by_the_rest: false },
    Step {
        name: "doc",
        work: Work::Doc(&["doc", "--release", "--workspace", "--no-deps", "--locked"]),
        is_needed_by_the_rest: false,
    },
    Step {
        name: "simulate",
        work: Work::Hedgerow(&["simulate", "scenarios/paper.toml", "--requests", "200"]),
        is_needed_by_the_rest: false,
    },
    // Compiles llama.cpp in all its variants, also for the next step.
    Step {
        name: "portable",
        work: Work::Tests(&[
            "test",
            "--release",
            "--locked",
            "--no-fail-fast",
            "--workspace",
            "--features",
            "hedgerow/portable",
            "--test",
            "engine",
            "--test",
            "prefixes",
            "--test",
            "sampling",
            "--test",
            "text",
        ]),
        is_needed_by_the_rest: false,
    },
    Step { name: "package", work: Work::Package, is_needed_by_the_rest: false },
];

impl Work {
    /// Whether this needs a C++ compiler and the other build tools.
    pub(crate) fn compiles(&self) -> bool {
        match self {
            Work::Cargo(arguments) => arguments.first() != Some(&"fmt"),
            Work::Doc(_) | Work::Tests(_) | Work::Package => true,
            // The counted program contains neither llama.cpp nor other C code.
            Work::Hedgerow(_) | Work::Tidy | Work::Instructions => false,
        }
    }

    /// The command line of the step.
    pub(crate) fn command_line(&self) -> String {
        match self {
            Work::Cargo(arguments) | Work::Tests(arguments) => format!("cargo {}", arguments.join(" ")),
            Work::Doc(arguments) => format!("RUSTDOCFLAGS='-D warnings' cargo {}", arguments.join(" ")),
            Work::Hedgerow(arguments) => format!("hedgerow {}", arguments.join(" ")),
            Work::Tidy => "the checks in xtask/src/tidy".to_owned(),
            Work::Instructions => "cargo xtask instructions".to_owned(),
            Work::Package => {
                "cargo xtask package (a --release build), and the check of its packages".to_owned()
            }
        }
    }
}

/// All steps.
pub(crate) fn all() -> Vec<&'static Step> {
    STEPS.iter().collect()
}

/// Finds a step by name.
pub(crate) fn named(name: &str) -> Result<&'static Step, Failure> {
    STEPS.iter().find(|step| step.name == name).ok_or_else(|| {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        Failure::new(format!("no step is called `{name}`"), format!("take one of: {}", known.join(", ")))
    })
}

/// The list of steps, one line per step.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for step in STEPS {
        writeln!(text, "{:<14}{}", step.name, step.work.command_line()).expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let mut names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }

    #[test]
    fn all_steps_use_one_profile_so_that_llama_cpp_is_compiled_once() {
        for step in STEPS.iter().filter(|step| step.work.compiles()) {
            assert!(step.work.command_line().contains("--release"), "{}", step.name);
        }
    }

    #[test]
    fn an_unknown_step_gets_the_list() {
        let text = named("tests").unwrap_err().to_string();
        assert!(text.contains("take one of: fmt, tidy, clippy"), "{text}");
    }
}
