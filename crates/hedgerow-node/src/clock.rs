//! The server's only clock: wall time as the core's instants.

use std::time::{SystemTime, UNIX_EPOCH};

use hedgerow_core::time::Instant;

/// Measures time since its start, which is the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Start of the clock in Unix time, ms; 0 where the machine's date is before 1970.
    pub(crate) fn started_unix_ms(&self) -> u64 {
        let started = SystemTime::now().checked_sub(self.start.elapsed());
        let since = started.and_then(|started| started.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_millis() as u64)
    }

    /// The current time.
    pub fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }
}

/// Milliseconds elapsed since `since`.
pub(crate) fn millis_since(since: std::time::Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
