//! hedgerow: an LLM inference server for edge nodes that keeps its promises.
//!
//! A library, so that its code generation overlaps with that of the crates below it; the program is [`main`].

mod cli;
mod demo;

use std::io::Write as _;

use hedgerow_node::console::Console;
use hedgerow_node::{errors, kernels};

use cli::ExitStatus;

/// Runs the command that the process's arguments name, and returns the process's exit code.
pub fn main() -> u8 {
    let mut console = Console { out: &mut std::io::stdout(), notes: &note };
    // The kernels are checked in a child process, which is this program.
    let outcome = match kernels::run_trial_if_asked() {
        Some(outcome) => outcome.map(|()| ExitStatus::Success),
        None => cli::run(&mut console),
    };
    match outcome {
        Ok(status) => status as u8,
        // The reader of the output has closed it, as `head` does.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            note(&errors::describe(&error));
            2
        }
    }
}

/// Writes a line to standard error; standard output is for results.
fn note(text: &str) {
    // Where standard error is broken, the line is lost; `eprintln!` would panic.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    of_io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
