//! Running other programs from the repository's root and reporting their failures.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why a command failed, and how to fix it.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    what: String,
    hint: String,
}

impl Failure {
    /// Creates a failure; `what` is in lower case without a full stop, `hint` is an imperative.
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error: {}\n\nhint: {}", self.what, self.hint)
    }
}

/// The folder in which programs run, and their additional environment variables.
#[derive(Clone)]
pub(crate) struct Shell {
    root: PathBuf,
    variables: Vec<(String, OsString)>,
}

impl Shell {
    /// A shell in the folder of the workspace's `Cargo.toml`.
    pub(crate) fn at_repository_root() -> Result<Shell, Failure> {
        // Cargo sets the folder of xtask; without cargo the search starts at the current folder.
        let start = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => env::current_dir().map_err(|error| {
                Failure::new(format!("no current folder: {error}"), "change to the checkout")
            })?,
        };
        let is_root = |folder: &&Path| {
            fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
        };
        let root = start.ancestors().find(is_root).ok_or_else(|| {
            Failure::new(
                format!("no workspace at or above {}", start.display()),
                "run `cargo xtask` inside the checkout",
            )
        })?;
        Ok(Shell { root: root.to_owned(), variables: Vec::new() })
    }

    /// The shell with more environment variables for its programs.
    pub(crate) fn with_environment(mut self, variables: Vec<(String, OsString)>) -> Shell {
        self.variables.extend(variables);
        self
    }

    /// The repository's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of fetched files; git ignores it.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join(".bootstrap")
    }

    /// A command with this shell's folder and environment.
    pub(crate) fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(name);
        command.current_dir(&self.root);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// The cargo that runs this program.
    pub(crate) fn cargo(&self) -> Command {
        self.program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// The server's program.
    pub(crate) fn hedgerow(&self) -> Result<Command, Failure> {
        self.built("hedgerow")
    }

    /// A program that cargo built in the folder of this program, which respects every way of setting the target
    /// folder.
    pub(crate) fn built(&self, name: &str) -> Result<Command, Failure> {
        let own = env::current_exe()
            .map_err(|error| Failure::new(format!("no path to xtask: {error}"), "run it as `cargo xtask`"))?;
        let program = own.with_file_name(name);
        if !program.exists() {
            return Err(Failure::new(
                format!("{} is not built", program.display()),
                "run `cargo xtask test --only build`",
            ));
        }
        Ok(self.program(program))
    }

    /// Runs a program to its end with inherited output.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), Failure> {
        let status = command.status().map_err(|error| could_not_start(command, &error))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("`{}` ended with {status}", line_of(command)), "its output is above"))
    }

    /// Runs a program and captures its output; a failure contains the last lines.
    pub(crate) fn run_quietly(&self, command: &mut Command) -> Result<Output, Failure> {
        let output =
            command.stdin(Stdio::null()).output().map_err(|error| could_not_start(command, &error))?;
        if output.status.success() {
            return Ok(output);
        }
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Err(Failure::new(
            format!("`{}` ended with {}\n{}", line_of(command), output.status, last_lines(&text, 12)),
            "read the lines above",
        ))
    }
}

/// The command line of a command.
pub(crate) fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// The failure of a program that could not be started.
pub(crate) fn could_not_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("could not start `{}`: {error}", line_of(command)),
        "install that program, or put it on PATH",
    )
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    lines[from..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_hint_after_a_blank_line() {
        let failure = Failure::new("make is missing", "install make");
        assert_eq!(failure.to_string(), "error: make is missing\n\nhint: install make");
    }

    #[test]
    fn a_failing_program_is_quoted_with_its_last_lines() {
        let shell = Shell { root: PathBuf::from("/"), variables: Vec::new() };
        let failure =
            shell.run_quietly(shell.program("sh").args(["-c", "echo one; echo two; exit 3"])).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("exit status: 3\n  | one\n  | two"), "{text}");
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "  | b\n  | c");
    }
}
