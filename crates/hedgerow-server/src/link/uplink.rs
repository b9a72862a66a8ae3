//! Estimates the uplink rate from the size and duration of request body uploads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_core::time::Instant;
use hedgerow_core::units::BitsPerSecond;
use hedgerow_node::clock::Clock;

/// Exponential smoothing: factor on the weight of all earlier uploads at each new upload.
const DECAY: f64 = 0.95;

/// Measures the uplink rate over the request bodies of all callers together.
///
/// A body's first part often arrives with the HTTP head and carries no information about the rate. The estimate is
/// therefore the bytes after each body's first part, divided by the time in which at least one body is between its
/// first and its last part.
#[derive(Debug)]
pub(crate) struct Uplink {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The instant up to which busy time is counted.
    counted_until: Instant,
    bytes: f64,
    busy_s: f64,
}

impl Uplink {
    /// Creates an estimator without measurements.
    pub(crate) fn new(clock: Clock) -> Self {
        let state = State { counted_until: clock.now(), bytes: 0.0, busy_s: 0.0 };
        Self { clock, state: Mutex::new(state) }
    }

    /// Starts the measurement of one body's upload, which ends when the returned value is dropped.
    pub(crate) fn begin(&self) -> Upload<'_> {
        Upload { uplink: self, first: None, came_in_parts: false, bytes: 0 }
    }

    /// The measured rate while uploads are in progress; `None` until a body has arrived in several parts.
    pub(crate) fn rate(&self) -> Option<BitsPerSecond> {
        let state = self.lock();
        (state.busy_s > 0.0).then(|| BitsPerSecond::new(8.0 * state.bytes / state.busy_s))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds the time from `since` to `now` to the busy time, without counting any time twice.
    fn count_busy(&mut self, since: Instant, now: Instant) {
        self.busy_s += now.since(self.counted_until.max(since)).as_seconds();
        self.counted_until = self.counted_until.max(now);
    }
}

/// One body upload in progress.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    uplink: &'a Uplink,
    /// When the first part arrived.
    first: Option<Instant>,
    /// Whether a second part arrived.
    came_in_parts: bool,
    bytes: usize,
}

impl Upload<'_> {
    /// Records the arrival of a part.
    pub(crate) fn part(&mut self, bytes: usize) {
        let now = self.uplink.clock.now();
        self.bytes += bytes;
        let Some(first) = self.first else {
            self.first = Some(now);
            return;
        };
        let mut state = self.uplink.lock();
        state.count_busy(first, now);
        state.bytes += bytes as f64;
        self.came_in_parts = true;
    }

    /// Bytes received so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let Some(first) = self.first.filter(|_| self.came_in_parts) else { return };
        let now = self.uplink.clock.now();
        let mut state = self.uplink.lock();
        state.count_busy(first, now);
        state.bytes *= DECAY;
        state.busy_s *= DECAY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_come_with_their_head_say_nothing_about_the_rate() {
        let uplink = Uplink::new(Clock::start());
        (0..3).for_each(|_| uplink.begin().part(1_000_000));
        assert_eq!(uplink.rate(), None);
    }

    #[test]
    fn two_bodies_at_once_count_their_bytes_each_and_their_time_once() {
        let uplink = Uplink::new(Clock::start());
        let began = std::time::Instant::now();
        let (mut one, mut other) = (uplink.begin(), uplink.begin());
        one.part(1);
        other.part(1);
        std::thread::sleep(std::time::Duration::from_millis(20));
        one.part(500_000);
        other.part(500_000);
        drop((one, other));
        let least_bits_per_s = 8e6 / began.elapsed().as_secs_f64();
        let rate = uplink.rate().expect("both came in parts").get();
        assert!((least_bits_per_s..8e6 / 0.02).contains(&rate), "{rate} bit/s, at least {least_bits_per_s}");
    }
}
