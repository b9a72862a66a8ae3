//! Who runs first when the engine's threads keep every core busy.
//!
//! A refusal passes several threads, each of which would wait for the system to interrupt the engine. A better nice
//! value shortens that, but one wait in fifty still lasts until the next tick: 4 ms. A real-time thread never waits for
//! one that is not, and these run for fractions of a millisecond. So does `bench serve`, whose callers would otherwise
//! measure how long they themselves wait for a core.

use rustix::process;
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// How far ahead of the engine where real time is not allowed, in the system's unit (nice).
const AHEAD: i32 = 5;

const ROUND_ROBIN: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);

/// Lets this thread run before the engine's, in real time if it may, at a better nice value otherwise. Both take a
/// right (root, CAP_SYS_NICE or limits on `rtprio` and `nice`); without any nothing changes. Threads that it starts
/// inherit it: none that computes for long may be among them.
pub(crate) fn run_before_the_engine() {
    let thread = thread_priority::thread_native_id();
    let least = ThreadPriority::Min;
    if thread_priority::set_thread_priority_and_policy(thread, least, ROUND_ROBIN).is_ok() {
        return;
    }
    // The process's id is its first thread's, whose nice value nobody here changes; `None` is this thread.
    let Ok(usual) = process::getpriority_process(Some(process::getpid())) else { return };
    let _ = process::setpriority_process(None, usual - AHEAD);
}
