//! Runs every command of the README as it is written.
//!
//! A command that would take long gets additional flags that make it small; one that needs a server finds one at the
//! address in the README. A new line in the README needs a rule here.

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The addresses of the README's server and of the one it is compared with.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8473", "127.0.0.1:8080"];

/// How a command is tested.
enum Rule {
    /// It is run, with these additional flags.
    Run(&'static str),
    /// It is run while a server of the README's first command is running.
    WithServer(&'static str),
    /// It is a server: it is started, and stopped by Ctrl-C once it reports that it serves.
    Serve,
    /// Like `Serve`, but only until it listens: its files, flags and qualities are checked before that.
    Listen,
    /// Another test covers it.
    Elsewhere,
}

/// The rules, by the beginning of the command; the first that matches applies.
const RULES: &[(&str, Rule)] = &[
    ("cargo xtask ", Rule::Elsewhere),
    ("hedgerow doctor", Rule::Run("")),
    ("hedgerow serve precisions/", Rule::Listen),
    ("hedgerow serve", Rule::Serve),
    ("curl ", Rule::WithServer("")),
    ("hedgerow explain ", Rule::WithServer("")),
    ("hedgerow bench serve ", Rule::WithServer("--duration 1s --pause 0s --drain 30s")),
    ("hedgerow profile", Rule::Run("")),
    ("hedgerow simulate --replay ", Rule::Run("")),
    ("hedgerow simulate ", Rule::Run("--requests 40")),
    ("hedgerow plan ", Rule::Run("--duration 30s --seeds 1 --resolution 0.9")),
    ("hedgerow solve ", Rule::Run("")),
    ("hedgerow bench solvers", Rule::Run("--requests 10 --seeds 1 --repeat 1 --solver exact --family tight")),
    ("hedgerow scenario new ", Rule::Run("")),
    ("hedgerow figures paper", Rule::Run("--only d --quick 4")),
    ("hedgerow quantize ", Rule::Run("")),
    ("hedgerow evaluate ", Rule::Run("--ctx 64 --chunks 2 --text LICENSE-APACHE")),
    ("hedgerow list", Rule::Run("")),
];

/// Returns the commands of the README's code blocks, in order, without comments.
fn commands(readme: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for block in readme.split("```").skip(1).step_by(2) {
        let mut open = String::new();
        // The first line names the block's language, if anything.
        for line in block.lines().skip(1) {
            open += line.split(" #").next().unwrap_or_default().trim_end();
            // A quoted text may continue on the next line.
            if open.matches('\'').count() % 2 == 1 {
                open.push('\n');
                continue;
            }
            commands.extend(open.split("; ").map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()));
            open.clear();
        }
        assert_eq!(open, "", "a quotation ends nowhere");
    }
    commands
}

/// Adds flags to a command.
fn with_flags(command: &str, flags: &str) -> String {
    // A redirection comes last.
    match command.split_once(" > ") {
        Some((command, file)) => format!("{command} {flags} > {file}"),
        None => format!("{command} {flags}"),
    }
}

/// A folder with everything that the README assumes.
struct Checkout {
    folder: PathBuf,
    model: PathBuf,
}

impl Checkout {
    fn new(model: PathBuf) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
        // A failed run may have left it.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_hedgerow"), folder.join("bin/hedgerow")).unwrap();
        for name in ["scenarios", "examples", "config", "LICENSE-APACHE"] {
            symlink(Path::new(ROOT).join(name), folder.join(name)).unwrap();
        }
        // The built-in model is here already.
        let models = Path::new(support::CACHE).join("models");
        std::fs::create_dir_all(&models).unwrap();
        let there = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
        if !there.exists() {
            symlink(&model, there).unwrap();
        }
        Self { folder, model }
    }

    /// Returns a shell that runs a command.
    fn shell(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("HEDGEROW_CACHE", support::CACHE)
            .env("HEDGEROW_OFFLINE", "true")
            .env("HEDGEROW_PORT", "0");
        shell
    }

    fn run(&self, command: &str) -> Output {
        let output = self.shell(command).output().expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}{}", String::from_utf8_lossy(&output.stdout));
        output
    }

    /// Starts a server and reads its output until a line has `mark`; returns what follows it on that line.
    fn start(&self, command: &str, mark: &str) -> (Started, String) {
        // Signals are for the program, not for the shell around it.
        let mut child = self.shell(&format!("exec {command}")).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut said = String::new();
        let found = lines.find_map(|line| {
            let line = line.expect("its output is text");
            said += &format!("{line}\n");
            line.split_once(mark).map(|(_, rest)| rest.to_owned())
        });
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("server: {line}")));
        (Started(child), found.unwrap_or_else(|| panic!("{command}\n{said}")))
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // Three precisions of the model take half a gigabyte.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running server; killed if the test ends before it is stopped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It has usually ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stops a server by Ctrl-C.
fn stop(mut started: Started) {
    Command::new("kill").args(["-INT", &started.0.id().to_string()]).status().expect("kill is there");
    assert!(started.0.wait().expect("it ends").success(), "it ends well");
}

#[test]
fn every_command_of_the_readme_runs_as_it_is_written() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let commands = commands(&readme);
    assert!(commands.len() > 15, "{commands:#?}");
    let rule = |command: &str| {
        let known = RULES.iter().find(|(start, _)| command.starts_with(start));
        &known.unwrap_or_else(|| panic!("no rule for `{command}`")).1
    };
    commands.iter().for_each(|command| _ = rule(command));
    let Some(model) = support::model() else { return };
    let checkout = Checkout::new(model);
    let mut server: Option<(Started, String)> = None;
    for command in &commands {
        match rule(command) {
            Rule::Elsewhere => {}
            Rule::Run(flags) => drop(checkout.run(&with_flags(command, flags))),
            Rule::WithServer(flags) => {
                let (_, address) = server.as_ref().expect("the README serves before it asks");
                let there =
                    ADDRESSES.iter().fold(command.clone(), |text, known| text.replace(known, address));
                // One rate instead of several.
                let small = there.replace("--rate 1,2,4", "--rate 4");
                let small = small.replace(
                    "hedgerow explain",
                    &format!("HEDGEROW_URL=http://{address}/v1 hedgerow explain"),
                );
                let small = small
                    .replace("hedgerow bench serve", &format!("hedgerow bench serve --url http://{address}"));
                drop(checkout.run(&with_flags(&small, flags)));
            }
            Rule::Serve if server.is_none() => {
                let (child, address) = checkout.start(command, "hedgerow serves http://");
                server = Some((child, address.trim_end_matches("/v1").to_owned()));
            }
            Rule::Serve => {
                if let Some((child, _)) = server.take() {
                    stop(child);
                }
                // It must work a second time, too.
                for _ in 0..2 {
                    stop(checkout.start(command, "hedgerow serves http://").0);
                }
            }
            Rule::Listen => {
                if let Some((child, _)) = server.take() {
                    stop(child);
                }
                stop(checkout.start(command, "listening").0);
            }
        }
    }
    if let Some((child, _)) = server {
        stop(child);
    }
    assert!(checkout.model.exists());
    assert_eq!(std::fs::read_dir(checkout.folder.join("recordings")).unwrap().count(), 2);
}

#[test]
fn commands_are_found_with_their_continuations_and_without_comments() {
    let readme = "Text.\n```\nhedgerow a; hedgerow b   # both\ncurl -d '{\n  \"x\": 1 }'\n```\n";
    assert_eq!(commands(readme), ["hedgerow a", "hedgerow b", "curl -d '{\n  \"x\": 1 }'"]);
}
