//! Reports to the service manager by systemd's notify protocol: starting, ready, alive, stopping.
//!
//! - takes: `NOTIFY_SOCKET` and `WATCHDOG_USEC`, which systemd sets for a unit with `Type=notify`
//! - gives: datagrams to that socket
//! - never: fails; without `NOTIFY_SOCKET` every function does nothing

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The longest time between two signs of progress before a start counts as stuck. It must cover one step of the
/// largest model on the slowest machine, and the pauses between attempts to download.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(300);

/// How often progress within a stage is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Added to the shutdown grace before the service manager may kill the process.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// When the last report was sent.
static LAST_REPORT: Mutex<Option<Instant>> = Mutex::new(None);

/// Reports a new stage of the start, and that it makes progress.
pub(crate) fn starting(status: &str) {
    *LAST_REPORT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    send(&[NotifyState::Status(status), extended_by(PROGRESS_TIMEOUT)]);
}

/// Reports progress within a stage of the start, at most every two seconds, so that the service manager ends a stuck
/// start but not a slow one.
pub(crate) fn still_starting(status: impl FnOnce() -> String) {
    {
        let last = LAST_REPORT.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
    }
    starting(&status());
}

/// Reports that requests are served.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports that the process is alive; systemd restarts it after `WatchdogSec` without such a report.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Reports that the configuration is being read again; [`ready`] reports the end.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

/// Reports a shutdown that takes up to `grace`.
pub fn stopping(grace: Duration) {
    let status = "stopping: finishing what can end in time";
    let by = grace.saturating_add(STOP_MARGIN);
    send(&[NotifyState::Stopping, NotifyState::Status(status), extended_by(by)]);
}

/// How often [`alive`] is to be called: half the time that the service manager allows; `None` if it has no watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| (allowed / 2).max(Duration::from_millis(1)))
}

fn extended_by(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be notified: is NOTIFY_SOCKET right?");
    }
}
