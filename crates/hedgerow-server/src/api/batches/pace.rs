//! How many lines run at once, and when the next may begin.

use std::time::{Duration, Instant};

/// First and longest pause after a refusal that does not say for how long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Weight of the latest time between two results in the estimate.
const NEWEST: f64 = 0.2;

/// Adapts to the other load: one more line at once after each result, half as many and a pause after a refusal
/// (additive increase, multiplicative decrease).
#[derive(Debug)]
pub(super) struct Pace {
    limit: usize,
    most: usize,
    /// Refusals since the last result.
    refusals: u32,
    paused_until: Option<Instant>,
    /// When the last line ended, or else when the first began.
    last_progress: Option<Instant>,
    /// Estimated seconds from one result to the next.
    seconds_per_line: Option<f64>,
}

impl Pace {
    /// A pace for a node that runs `parallel` requests at once: a quarter of its places, at least one, stays free of
    /// batches if there is more than one.
    pub(super) fn new(parallel: u32) -> Self {
        let most = parallel.saturating_sub((parallel / 4).max(1)).max(1) as usize;
        Self {
            limit: most.div_ceil(2),
            most,
            refusals: 0,
            paused_until: None,
            last_progress: None,
            seconds_per_line: None,
        }
    }

    /// How many more lines may begin beside those that run.
    pub(super) fn room(&self, running: usize, now: Instant) -> usize {
        if self.pause(now).is_some() { 0 } else { self.limit.saturating_sub(running) }
    }

    /// How long nothing may begin; `None`: it may at once.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.paused_until.map(|until| until.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    /// Notes that a line begins beside others that run.
    pub(super) fn begun(&mut self, running: usize, now: Instant) {
        // Time without any line is no time that lines take.
        if running == 0 {
            self.last_progress = Some(now);
        }
    }

    /// Notes that a line has its result.
    pub(super) fn ended(&mut self, now: Instant) {
        self.refusals = 0;
        self.limit = (self.limit + 1).min(self.most);
        if let Some(last) = self.last_progress.replace(now) {
            let seconds = now.saturating_duration_since(last).as_secs_f64();
            let before = self.seconds_per_line.unwrap_or(seconds);
            self.seconds_per_line = Some(before + NEWEST * (seconds - before));
        }
    }

    /// Notes that a line was refused because of other load.
    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.limit = (self.limit / 2).max(1);
        let pause = retry_after.unwrap_or(PAUSE_MIN * 2_u32.saturating_pow(self.refusals.min(6)));
        self.refusals = self.refusals.saturating_add(1);
        self.paused_until = Some(now + pause.clamp(PAUSE_MIN, PAUSE_MAX));
    }

    /// How long so many lines are expected to take: by the results so far, or by the time since the latest one, if
    /// that is longer.
    pub(super) fn expected(&self, lines: i64, now: Instant) -> Duration {
        let since = self.last_progress.map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        let each = since.max(self.seconds_per_line.unwrap_or(0.0));
        Duration::try_from_secs_f64(each * lines as f64).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_places_of_the_node_stay_free_and_one_line_always_runs() {
        for (parallel, most) in [(1, 1), (2, 1), (3, 2), (4, 3), (16, 12), (100, 75)] {
            let mut pace = Pace::new(parallel);
            let now = Instant::now();
            assert!(pace.room(0, now) >= 1);
            (0..200).for_each(|_| pace.ended(now));
            assert_eq!(pace.room(0, now), most, "of {parallel}");
        }
    }

    #[test]
    fn refusals_halve_the_lines_and_pause_for_longer_and_longer() {
        let mut pace = Pace::new(16);
        let now = Instant::now();
        assert_eq!(pace.room(2, now), 4);
        pace.refused(None, now);
        assert_eq!((pace.room(0, now), pace.pause(now)), (0, Some(PAUSE_MIN)));
        let later = now + PAUSE_MIN;
        assert_eq!(pace.room(0, later), 3);
        pace.refused(None, later);
        assert_eq!(pace.pause(later), Some(2 * PAUSE_MIN));
        pace.refused(Some(Duration::from_secs(4)), later);
        assert_eq!(pace.pause(later), Some(Duration::from_secs(4)));
        (0..20).for_each(|_| pace.refused(None, later));
        assert_eq!(pace.pause(later), Some(PAUSE_MAX));
        assert_eq!(pace.room(0, later + PAUSE_MAX), 1);
        pace.ended(later);
        pace.refused(None, later);
        assert_eq!(pace.pause(later), Some(PAUSE_MIN), "a result ends the row of refusals");
    }

    #[test]
    fn the_expected_time_grows_while_no_line_ends() {
        let mut pace = Pace::new(16);
        let now = Instant::now();
        assert_eq!(pace.expected(100, now), Duration::ZERO);
        pace.begun(0, now);
        assert_eq!(pace.expected(100, now + Duration::from_secs(3)), Duration::from_secs(300));
        pace.ended(now + Duration::from_secs(2));
        assert_eq!(pace.expected(10, now + Duration::from_secs(2)), Duration::from_secs(20));
        assert_eq!(pace.expected(10, now + Duration::from_secs(7)), Duration::from_secs(50));
        pace.begun(0, now + Duration::from_secs(90));
        assert_eq!(pace.expected(10, now + Duration::from_secs(90)), Duration::from_secs(20));
    }
}
