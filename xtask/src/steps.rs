//! The steps of `cargo xtask test`, as data: edit this list to change what is checked.

use std::fmt::Write;

use crate::shell::Failure;

/// One step: its name, and what it does.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// Whether nothing after this step can pass when it fails.
    pub(crate) is_needed_by_the_rest: bool,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// Cargo, with these arguments.
    Cargo(&'static [&'static str]),
    /// `cargo doc`, for which a warning is an error.
    Doc(&'static [&'static str]),
    /// Cargo's tests, told where the small model and the Python packages are.
    Tests(&'static [&'static str]),
    /// The server's own program, with these arguments.
    Hedgerow(&'static [&'static str]),
    /// The checks in `tidy.rs`.
    Tidy,
    /// The comparison in `instructions.rs`; skipped where valgrind is not here.
    Instructions,
    /// The check in `package/check.rs`; skipped where packages cannot be tried out.
    Package,
}

/// How the server is built: by `demo` and by the step `build`.
///
/// Every step uses the release profile and one set of crates, because each further profile, and each
/// smaller set whose libraries have fewer features, would compile llama.cpp once more.
pub(crate) const BUILD_SERVER: &[&str] = &["build", "--release", "--locked", "--package", "hedgerow"];

/// In the order in which they run: first what fails fast, then what needs the server and the model.
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
    // Off by default, and not to rot for it.
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
    // Compiles llama.cpp in all its variants, for the next step too.
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
    /// Whether this must find a C++ compiler and its companions.
    pub(crate) fn compiles(&self) -> bool {
        match self {
            Work::Cargo(arguments) => arguments.first() != Some(&"fmt"),
            Work::Doc(_) | Work::Tests(_) | Work::Package => true,
            // What is counted has neither llama.cpp nor any other C in it.
            Work::Hedgerow(_) | Work::Tidy | Work::Instructions => false,
        }
    }

    /// The command behind the step, as someone would type it.
    pub(crate) fn command_line(&self) -> String {
        match self {
            Work::Cargo(arguments) | Work::Tests(arguments) => format!("cargo {}", arguments.join(" ")),
            Work::Doc(arguments) => format!("RUSTDOCFLAGS='-D warnings' cargo {}", arguments.join(" ")),
            Work::Hedgerow(arguments) => format!("hedgerow {}", arguments.join(" ")),
            Work::Tidy => "the checks in xtask/src/tidy.rs".to_owned(),
            Work::Instructions => "cargo xtask instructions".to_owned(),
            Work::Package => {
                "cargo xtask package (a --release build), and the check of what it makes".to_owned()
            }
        }
    }
}

/// Every step.
pub(crate) fn all() -> Vec<&'static Step> {
    STEPS.iter().collect()
}

/// The step of that name.
pub(crate) fn named(name: &str) -> Result<&'static Step, Failure> {
    STEPS.iter().find(|step| step.name == name).ok_or_else(|| {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        Failure::new(format!("no step is called `{name}`"), format!("take one of: {}", known.join(", ")))
    })
}

/// One line for each step.
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
    fn one_profile_only_because_each_compiles_llama_cpp_again() {
        for step in STEPS.iter().filter(|step| step.work.compiles()) {
            assert!(step.work.command_line().contains("--release"), "{}", step.name);
        }
    }

    #[test]
    fn an_unknown_step_is_answered_with_the_known_ones() {
        let text = named("tests").unwrap_err().to_string();
        assert!(text.contains("take one of: fmt, tidy, clippy"), "{text}");
    }
}
