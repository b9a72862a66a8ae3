//! Thread priorities: keeps latency-critical threads responsive while the engine's threads occupy every core.
//!
//! A refusal passes through several threads, and each would wait for the kernel to preempt the engine. A lower nice
//! value shortens that wait, but one in fifty still lasts until the next tick (4 ms). A real-time thread always
//! preempts a normal one, and these threads run for fractions of a millisecond. `bench serve` uses the same priority
//! for its clients, which would otherwise measure their own wait for a core.

use rustix::process;
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// Difference in nice value to the engine, used where real-time scheduling is not permitted.
const AHEAD: i32 = 5;

const ROUND_ROBIN: ThreadSchedulePolicy =
    ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);

/// Gives this thread priority over the engine's threads: real-time scheduling if permitted, else a lower nice value.
/// Both need a privilege (root, CAP_SYS_NICE or limits on `rtprio` and `nice`); without one nothing changes. Threads
/// started by this one inherit the priority, so none of them may compute for long.
pub fn run_before_the_engine() {
    let thread = thread_priority::thread_native_id();
    let least = ThreadPriority::Min;
    if thread_priority::set_thread_priority_and_policy(thread, least, ROUND_ROBIN).is_ok() {
        return;
    }
    // The process id is that of its first thread, whose nice value is never changed; `None` means this thread.
    let Ok(usual) = process::getpriority_process(Some(process::getpid())) else { return };
    let _ = process::setpriority_process(None, usual - AHEAD);
}
