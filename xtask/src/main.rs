//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! Read [`run`] first: each command is one line of it. Everything here uses only the standard library, so
//! that a fresh machine compiles it in a second or two.

mod bootstrap;
mod broken_links;
mod build;
mod compare_builds;
mod detect;
mod docs;
mod install;
mod instructions;
mod package;
mod progress;
mod python;
mod run_steps;
mod shell;
mod steps;
mod tidy;
mod toolkit;

use std::env;
use std::process::ExitCode;

use bootstrap::Bootstrap;
use shell::{Failure, Shell};

const HELP: &str = "\
The project's own commands.

usage: cargo xtask COMMAND [OPTIONS]

  demo [ARGS...]   build the server and run `hedgerow demo ARGS...`
  build            build the server
      --features LIST  with accelerators (cuda, metal, rocm, vulkan); checks their toolkits first
  test             run every check: format, lints, tests, docs, examples, a short simulation
      --list       name the steps and the command each one runs
      --only STEP  run one step alone (may be given more than once)
  instructions     count the instructions of the exact solver, and fail where they grew by more than 5 %
      --update     write the counts to the table instead
  compare-builds   compare the speed of the portable and the native build
  package          build for every CPU and make the packages: .deb, .tar.gz, a folder for `podman build`
      --only KIND  make deb, tar or container-context alone (may be given more than once)
      --out DIR    put them there instead of target/package
  docs             build the documentation as a site into target/docs, with search that works offline
  bootstrap        find or fetch what the build needs: a C++ compiler, make, cmake, libclang
  help             print this

options of every command:
  --no-apt         never call apt-get, even as root (also: HEDGEROW_NO_APT=1)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command that the arguments name.
fn run(arguments: &[String]) -> Result<(), Failure> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let shell = Shell::at_repository_root()?;
    match command {
        "demo" => demo(shell, rest),
        "build" => {
            let (apt, rest) = take_no_apt(rest);
            build::run(shell, apt, &rest)
        }
        "test" => test(shell, rest),
        "instructions" => {
            let (is_update, rest) = match rest.split_first() {
                Some((word, rest)) if word == "--update" => (true, rest),
                _ => (false, rest),
            };
            no_more(rest)?;
            instructions::run(&shell, is_update)
        }
        "compare-builds" => {
            let (apt, rest) = take_no_apt(rest);
            no_more(&rest)?;
            let ready = Bootstrap::new(&shell, apt).prepare()?;
            let shell = shell.with_environment(ready.variables);
            progress::build(&shell, steps::BUILD_SERVER)?;
            compare_builds::run(&shell)
        }
        "package" => {
            let (apt, rest) = take_no_apt(rest);
            package::make(shell, apt, &package::Options::parse(&rest)?).map(drop)
        }
        "docs" => {
            no_more(rest)?;
            docs::run(&shell)
        }
        "bootstrap" => {
            let (apt, rest) = take_no_apt(rest);
            no_more(&rest)?;
            let ready = Bootstrap::new(&shell, apt).prepare()?;
            println!("bootstrap: ready");
            ready.print_what_plain_cargo_needs();
            Ok(())
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::new(
            format!("no command is called `{other}`"),
            "run `cargo xtask help` for the list",
        )),
    }
}

/// Builds the server, without the lab unless that is built already, and hands over to its command `demo`.
fn demo(shell: Shell, arguments: &[String]) -> Result<(), Failure> {
    let (apt, rest) = take_no_apt(arguments);
    let ready = Bootstrap::new(&shell, apt).prepare()?;
    let shell = shell.with_environment(ready.variables);
    let build = if progress::has_lab() { steps::BUILD_SERVER } else { steps::BUILD_DEMO };
    println!("demo: cargo {} (the first time takes some minutes)", build.join(" "));
    progress::build(&shell, build)?;
    shell.run(shell.hedgerow()?.arg("demo").args(rest))?;
    if build == steps::BUILD_DEMO {
        println!(
            "\nThis build serves. `cargo build --release` adds the other commands: plan, bench, simulate, ..."
        );
    }
    Ok(())
}

/// Runs all steps, or those named by `--only`.
fn test(shell: Shell, arguments: &[String]) -> Result<(), Failure> {
    let (apt, rest) = take_no_apt(arguments);
    let mut only = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => {
                print!("{}", steps::list());
                return Ok(());
            }
            "--only" => {
                let name = words.next().ok_or_else(|| {
                    Failure::new("`--only` names no step", "add a name from `cargo xtask test --list`")
                })?;
                only.push(steps::named(name)?);
            }
            other => {
                return Err(Failure::new(
                    format!("`test` has no option `{other}`"),
                    "run `cargo xtask help`",
                ));
            }
        }
    }
    let chosen = if only.is_empty() { steps::all() } else { only };
    run_steps::run(shell, apt, &chosen)
}

/// Removes `--no-apt` from the arguments; the others keep their order.
fn take_no_apt(arguments: &[String]) -> (install::Apt, Vec<String>) {
    let forbidden = env::var_os("HEDGEROW_NO_APT").is_some_and(|value| !value.is_empty() && value != "0");
    let rest: Vec<String> = arguments.iter().filter(|word| *word != "--no-apt").cloned().collect();
    let apt =
        if forbidden || rest.len() < arguments.len() { install::Apt::Never } else { install::Apt::IfRoot };
    (apt, rest)
}

fn no_more(rest: &[String]) -> Result<(), Failure> {
    match rest.first() {
        None => Ok(()),
        Some(word) => Err(Failure::new(format!("unexpected argument `{word}`"), "run `cargo xtask help`")),
    }
}
