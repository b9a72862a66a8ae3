//! Runs steps one after another, and reports the duration of each and the command to repeat it.

use std::env;
use std::ffi::OsString;
use std::time::Instant;

use crate::bootstrap::Bootstrap;
use crate::broken_links;
use crate::install::Apt;
use crate::instructions;
use crate::package;
use crate::progress;
use crate::shell::{Failure, Shell};
use crate::steps::{Step, Work};
use crate::tidy;

/// The result of a step.
struct Report {
    name: &'static str,
    seconds: f64,
    outcome: Outcome,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Passed,
    /// A requirement of this step alone is missing.
    Skipped,
    Failed,
}

/// Prepares the machine, runs the steps, and fails if any step failed.
pub(crate) fn run(shell: Shell, apt: Apt, steps: &[&'static Step]) -> Result<(), Failure> {
    let started = Instant::now();
    let shell = prepared(shell, apt, steps)?;
    let mut reports: Vec<Report> = Vec::new();
    for step in steps {
        let report = run_one(&shell, apt, step);
        let stops_here = report.outcome == Outcome::Failed && step.is_needed_by_the_rest;
        reports.push(report);
        if stops_here {
            break;
        }
    }
    summarize(&reports, steps, started.elapsed().as_secs_f64())
}

/// The shell for the steps, with the build's tools and the Python packages of the tests.
fn prepared(shell: Shell, apt: Apt, steps: &[&'static Step]) -> Result<Shell, Failure> {
    if !steps.iter().any(|step| step.work.compiles()) {
        return Ok(shell);
    }
    let ready = Bootstrap::new(&shell, apt).prepare()?;
    let mut variables = ready.variables;
    if steps.iter().any(|step| matches!(step.work, Work::Tests(_))) {
        variables.push(("HEDGEROW_TEST_PYTHON".to_owned(), ready.python.for_tests(&shell)?));
    }
    Ok(shell.with_environment(variables))
}

fn run_one(shell: &Shell, apt: Apt, step: &Step) -> Report {
    println!("\n== {}: {}", step.name, step.work.command_line());
    let started = Instant::now();
    let outcome = perform(shell, apt, &step.work);
    let seconds = started.elapsed().as_secs_f64();
    let outcome = match outcome {
        Ok(outcome) => {
            let text = if outcome == Outcome::Skipped { "SKIPPED, see above" } else { "ok" };
            println!("== {}: {text}, {seconds:.1} s", step.name);
            outcome
        }
        Err(failure) => {
            println!("{failure}");
            println!("== {}: FAILED, {seconds:.1} s; to repeat it alone: {}", step.name, repeat(step));
            Outcome::Failed
        }
    };
    Report { name: step.name, seconds, outcome }
}

fn perform(shell: &Shell, apt: Apt, work: &Work) -> Result<Outcome, Failure> {
    match work {
        Work::Cargo(arguments) => shell.run(shell.cargo().args(*arguments)),
        Work::Doc(arguments) => shell.run(shell.cargo().args(*arguments).env("RUSTDOCFLAGS", "-D warnings")),
        Work::Tests(arguments) => {
            if let Some(folder) = progress::target_folder() {
                broken_links::remove(&folder);
            }
            let mut cargo = shell.cargo();
            if let Some(model) = small_model(shell) {
                cargo.env("HEDGEROW_TEST_MODEL", model);
            }
            shell.run(cargo.args(*arguments))
        }
        Work::Hedgerow(arguments) => shell.run(shell.hedgerow()?.args(*arguments)),
        Work::Tidy => tidy::run(shell),
        Work::Instructions => {
            if let Err(missing) = instructions::can_count(shell) {
                println!("{missing}");
                return Ok(Outcome::Skipped);
            }
            instructions::run(shell, false)
        }
        Work::Package => {
            if env::var_os("HEDGEROW_CHECK_PACKAGES").is_none() {
                println!(
                    "set HEDGEROW_CHECK_PACKAGES=1 to build and test packages: it takes a quarter of an hour"
                );
                return Ok(Outcome::Skipped);
            }
            if let Some(reason) = package::check::cannot_check(shell, apt) {
                println!("{reason}");
                return Ok(Outcome::Skipped);
            }
            package::check::run(shell, apt)
        }
    }?;
    Ok(Outcome::Passed)
}

/// The path of the small model from the step `model`; tests that need it report when it is missing.
fn small_model(shell: &Shell) -> Option<OsString> {
    let mut pull = shell.hedgerow().ok()?;
    let output = shell.run_quietly(pull.args(["pull", "--offline", "--path-only"])).ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}

fn summarize(reports: &[Report], steps: &[&'static Step], seconds: f64) -> Result<(), Failure> {
    println!("\n== summary");
    for step in steps {
        match reports.iter().find(|report| report.name == step.name) {
            Some(report) => {
                let outcome = match report.outcome {
                    Outcome::Passed => "ok",
                    Outcome::Skipped => "skipped",
                    Outcome::Failed => "FAILED",
                };
                println!("{:<14}{outcome:<8}{:>8.1} s", report.name, report.seconds);
            }
            None => println!("{:<14}not run", step.name),
        }
    }
    println!("{:<14}{:<8}{seconds:>8.1} s", "total", "");
    let ended = |outcome: Outcome| -> Vec<&Step> {
        let is_so =
            |step: &Step| reports.iter().any(|report| report.name == step.name && report.outcome == outcome);
        steps.iter().filter(|step| is_so(step)).copied().collect()
    };
    let (failed, skipped) = (ended(Outcome::Failed), ended(Outcome::Skipped));
    let Some(first) = failed.first() else {
        match skipped.len() {
            0 => println!("all {} steps passed", steps.len()),
            count => println!("{} steps passed, {count} skipped", steps.len() - count),
        }
        return Ok(());
    };
    let names: Vec<&str> = failed.iter().map(|step| step.name).collect();
    Err(Failure::new(
        format!("{} of {} steps failed: {}", failed.len(), steps.len(), names.join(", ")),
        format!("repeat one alone: {}", repeat(first)),
    ))
}

fn repeat(step: &Step) -> String {
    format!("cargo xtask test --only {}", step.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    fn report(name: &'static str, passed: bool) -> Report {
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        Report { name, seconds: 1.0, outcome }
    }

    #[test]
    fn passes_when_every_step_passed() {
        let chosen = [steps::named("fmt").unwrap()];
        assert_eq!(summarize(&[report("fmt", true)], &chosen, 1.0), Ok(()));
    }

    #[test]
    fn names_the_failed_steps_and_how_to_repeat_one() {
        let chosen = [steps::named("fmt").unwrap(), steps::named("tidy").unwrap()];
        let failure = summarize(&[report("fmt", true), report("tidy", false)], &chosen, 2.0).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "error: 1 of 2 steps failed: tidy\n\nhint: repeat one alone: cargo xtask test --only tidy"
        );
    }
}
