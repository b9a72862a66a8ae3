//! hedgerow: an LLM inference server for edge nodes that keeps its promises.
//!
//! A library, so that its code generation overlaps with that of the crates below it; the program is [`main`].

mod cli;
mod demo;

use hedgerow_node::kernels;

use cli::ExitStatus;

/// Runs the command that the process's arguments name, and returns the process's exit code.
pub fn main() -> u8 {
    // The kernels are checked in a child process, which is this program.
    let outcome = match kernels::run_trial_if_asked() {
        Some(outcome) => outcome.map(|()| ExitStatus::Success),
        None => cli::run(),
    };
    match outcome {
        Ok(status) => status as u8,
        // The reader of the output has closed it, as `head` does.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            hedgerow_node::errors::print(&error);
            2
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    of_io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
