//! The only clock: wall time as the core's instants.

use hedgerow_core::time::Instant;

/// Counts from its own start, which is the process's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts counting.
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }
}
