//! What callers have asked for lately: how much of the node those take who are worth more for their work.
//!
//! Above the node's capacity somebody is turned away, and then it should be whoever takes the most time for
//! its value, even if it comes first: a report accepted now costs ten short answers that will come while it
//! runs. So a request is planned with the part of the node's time that denser callers, who come as they came
//! lately, will leave to it. Where all fit, nobody has to make room for anybody.

use std::collections::VecDeque;

use crate::time::{Instant, Span};

/// How far back is looked.
const WINDOW: Span = Span(60_000_000_000);
/// Nothing is concluded from less.
const LEAST_WINDOW: Span = Span(8_000_000_000);
/// The most requests looked back at.
const MOST: usize = 512;
/// Traffic of this part of the node's time or less can be served whole.
const FULL: f64 = 1.1;
/// The most that is kept for others.
const RESERVE_MOST: f64 = 0.95;

/// The requests of the latest minute: when they came, and what their time is worth.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    recent: VecDeque<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    work: Span,
    value: u32,
}

impl Asked {
    /// Value for a second of the node's time.
    fn density(&self) -> f64 {
        f64::from(self.value) / self.work.as_seconds().max(1e-9)
    }
}

impl Traffic {
    /// Notes an arrival: what it is worth and how much of the node's time it takes in a full batch.
    pub fn note(&mut self, now: Instant, work: Span, value: u32) {
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(Asked { at: now, work, value });
    }

    /// Whether anybody who named a time has come within the latest minute.
    pub fn is_recent(&self, now: Instant) -> bool {
        self.recent.back().is_some_and(|asked| now.since(asked.at) <= WINDOW)
    }

    /// The part of the node's time, from 0 to below 1, that those are expected to take who are worth more for
    /// their work than `value` for `work`; 0 as long as all can be served.
    pub(super) fn reserve(&self, now: Instant, work: Span, value: u32) -> f64 {
        // From the first who came within the window: after a pause callers come as they come now.
        let earliest = Instant(now.0.saturating_sub(WINDOW.0));
        let first = self.recent.partition_point(|asked| asked.at < earliest);
        let begin = self.recent.get(first).map_or(now, |asked| asked.at);
        let window_s = now.since(begin).max(LEAST_WINDOW).as_seconds();
        let own = Asked { at: now, work, value }.density();
        let (mut all_s, mut denser_s) = (0.0, 0.0);
        for asked in self.recent.range(first..) {
            all_s += asked.work.as_seconds();
            if asked.density() > own {
                denser_s += asked.work.as_seconds();
            }
        }
        if all_s <= FULL * window_s { 0.0 } else { (denser_s / window_s).min(RESERVE_MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Span = Span::from_millis(200);
    const LONG: Span = Span::from_millis(2_000);

    /// Ten seconds in which a short request comes every `short_ms` and a long one every second.
    fn traffic(short_ms: u64) -> (Traffic, Instant) {
        let mut traffic = Traffic::default();
        for ms in 0..10_000 {
            let now = Instant::START + Span::from_millis(ms);
            if ms % short_ms == 0 {
                traffic.note(now, SHORT, 1);
            }
            if ms % 1_000 == 0 {
                traffic.note(now, LONG, 1);
            }
        }
        (traffic, Instant::START + Span::from_millis(10_000))
    }

    #[test]
    fn keeps_for_those_who_cost_less_what_they_took_lately() {
        let (traffic, now) = traffic(400);
        assert!((traffic.reserve(now, LONG, 1) - 0.5).abs() < 1e-9, "25 short ones took 5 of 10 seconds");
        assert_eq!(traffic.reserve(now, SHORT, 1), 0.0, "nobody costs less than they");
        assert_eq!(traffic.reserve(now, LONG, 11), 0.0, "eleven times the value for ten times the work");
    }

    #[test]
    fn keeps_nothing_as_long_as_all_can_be_served() {
        let mut traffic = Traffic::default();
        (0..20).for_each(|half_s| traffic.note(Instant(half_s * 500_000_000), SHORT, 1));
        assert_eq!(traffic.reserve(Instant(10_000_000_000), LONG, 1), 0.0);
    }

    #[test]
    fn after_a_pause_callers_are_taken_to_come_as_they_come_now() {
        let (before, now) = traffic(400);
        let mut after = before.clone();
        let resumed = now + Span::from_millis(55_000);
        (0..40).for_each(|count| after.note(resumed + SHORT * count, SHORT, 1));
        (0..10).for_each(|count| after.note(resumed + SHORT * (4 * count), LONG, 1));
        let mut fresh = Traffic::default();
        (0..40).for_each(|count| fresh.note(resumed + SHORT * count, SHORT, 1));
        (0..10).for_each(|count| fresh.note(resumed + SHORT * (4 * count), LONG, 1));
        let later = resumed + Span::from_millis(8_000);
        assert!(after.reserve(later, LONG, 1) > 0.9, "{}", after.reserve(later, LONG, 1));
        assert_eq!(after.reserve(later, LONG, 1), fresh.reserve(later, LONG, 1));
    }

    #[test]
    fn forgets_what_was_asked_more_than_a_minute_ago() {
        let (traffic, now) = traffic(400);
        assert_eq!(traffic.reserve(now + WINDOW + Span(1), LONG, 1), 0.0);
    }
}
