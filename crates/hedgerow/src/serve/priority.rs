//! Who runs first when the engine's threads keep every core busy.
//!
//! A refusal passes two threads, each of which would wait for the system to interrupt the engine: some
//! milliseconds. With a better priority they interrupt it at once, and take next to nothing from it. So does
//! `bench serve`, whose callers would otherwise measure how long they themselves wait for a core.

use rustix::process;

/// How far ahead of the engine, in the system's unit (nice).
const AHEAD: i32 = 5;

/// Lets this thread run before the engine's. It takes the right to do so (root, CAP_SYS_NICE or a limit on
/// `nice`); without it nothing changes.
pub(crate) fn run_before_the_engine() {
    set(-AHEAD);
}

/// Gives this thread the priority of the process, whoever it was started by.
pub(crate) fn run_as_usual() {
    set(0);
}

fn set(offset: i32) {
    // The process's id is its first thread's, whose priority nobody here changes; `None` is this thread.
    let Ok(usual) = process::getpriority_process(Some(process::getpid())) else { return };
    let _ = process::setpriority_process(None, usual + offset);
}
