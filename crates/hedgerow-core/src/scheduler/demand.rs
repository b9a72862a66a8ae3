//! What callers have asked for lately: how much of the node those take who are worth more for their work.
//!
//! Above the node's capacity somebody is turned away, and then it should be whoever takes the most time for
//! its value, even if it comes first: a report accepted now costs ten short answers that will come while it
//! runs. So a request is planned with the part of the node's time that denser callers, who come as they came
//! lately, will leave to it until its deadline. Who has more time than it can be served after it. Where all fit, nobody
//! has to make room for anybody.

use std::collections::VecDeque;

use crate::request::Request;
use crate::time::{Instant, Span};

/// How far back is looked.
const WINDOW: Span = Span(60_000_000_000);
/// Nothing is concluded from less.
const LEAST_WINDOW: Span = Span(8_000_000_000);
/// The most requests looked back at.
const MOST: usize = 512;
/// Demand of this part of the node's time or less can be served whole.
const FULL: f64 = 0.9;
/// When in its time a request is taken to be served: half-way through it.
const SERVED_AT: f64 = 0.5;
/// The most that is kept for others.
const RESERVE_MOST: f64 = 0.95;

/// The requests of the latest minute: when they came, what their time is worth, and how long they could wait.
#[derive(Clone, Debug, Default)]
pub struct DemandEstimator {
    recent: VecDeque<Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    work: Span,
    value: u32,
    slack: Span,
}

impl Asked {
    fn new(now: Instant, request: &Request, work: Span) -> Self {
        Self { at: now, work, value: request.value, slack: request.urgency().0.since(now) }
    }

    /// Value for a second of the node's time.
    fn density(&self) -> f64 {
        f64::from(self.value) / self.work.as_seconds().max(1e-9)
    }
}

impl DemandEstimator {
    /// Notes an arrival: how much of the node's time it takes in a full batch.
    pub fn note(&mut self, now: Instant, request: &Request, work: Span) {
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(Asked::new(now, request, work));
    }

    /// Whether anybody who named a time has come within the latest minute.
    pub fn is_recent(&self, now: Instant) -> bool {
        self.recent.back().is_some_and(|asked| now.since(asked.at) <= WINDOW)
    }

    /// The part of the node's time until a request's deadline, from 0 to below 1, that those are expected to take who
    /// are worth more for their work than it is for `work`; 0 as long as all can be served. Of those who will come
    /// before its deadline, they count who are to be served before it too.
    pub(super) fn reserve(&self, now: Instant, request: &Request, work: Span) -> f64 {
        // From the first who came within the window: after a pause callers come as they come now.
        let earliest = Instant(now.0.saturating_sub(WINDOW.0));
        let first = self.recent.partition_point(|asked| asked.at < earliest);
        let begin = self.recent.get(first).map_or(now, |asked| asked.at);
        let window_s = now.since(begin).max(LEAST_WINDOW).as_seconds();
        let own = Asked::new(now, request, work);
        let (own_density, own_s) = (own.density(), own.slack.as_seconds().max(1e-9));
        let (mut all_s, mut before_s) = (0.0, 0.0);
        for asked in self.recent.range(first..) {
            all_s += asked.work.as_seconds();
            if asked.density() > own_density {
                let served_after = SERVED_AT * asked.slack.as_seconds() / own_s;
                before_s += asked.work.as_seconds() * (1.0 - served_after).max(0.0);
            }
        }
        if all_s <= FULL * window_s { 0.0 } else { (before_s / window_s).min(RESERVE_MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestId;
    use crate::units::Tokens;

    const SHORT: Span = Span::from_millis(200);
    const LONG: Span = Span::from_millis(2_000);
    /// What the short ones name as their time, and the long ones.
    const SOON: Span = Span::from_millis(1_000);
    const LATER: Span = Span::from_millis(30_000);

    fn asked(at: Instant, slack: Span) -> Request {
        Request { deadline: Some(at + slack), ..Request::new(RequestId(0), at, Tokens(1), Tokens(1)) }
    }

    fn note(demand: &mut DemandEstimator, at: Instant, work: Span) {
        demand.note(at, &asked(at, if work == SHORT { SOON } else { LATER }), work);
    }

    fn reserve(demand: &DemandEstimator, now: Instant, work: Span) -> f64 {
        demand.reserve(now, &asked(now, if work == SHORT { SOON } else { LATER }), work)
    }

    /// Ten seconds in which a short request comes every `short_ms` and a long one every second.
    fn demand(short_ms: u64) -> (DemandEstimator, Instant) {
        let mut demand = DemandEstimator::default();
        for ms in 0..10_000 {
            let now = Instant::START + Span::from_millis(ms);
            if ms % short_ms == 0 {
                note(&mut demand, now, SHORT);
            }
            if ms % 1_000 == 0 {
                note(&mut demand, now, LONG);
            }
        }
        (demand, Instant::START + Span::from_millis(10_000))
    }

    #[test]
    fn keeps_for_those_who_cost_less_what_they_took_lately() {
        let (demand, now) = demand(400);
        // 25 short ones took 5 of 10 seconds; those who come in the last half second of the 30 can wait.
        let kept = 0.5 * 29.5 / 30.0;
        assert!((reserve(&demand, now, LONG) - kept).abs() < 1e-9, "{}", reserve(&demand, now, LONG));
        assert_eq!(reserve(&demand, now, SHORT), 0.0, "nobody costs less than they");
        let worth_more = Request { value: 11, ..asked(now, LATER) };
        assert_eq!(
            demand.reserve(now, &worth_more, LONG),
            0.0,
            "eleven times the value, ten times the work"
        );
    }

    #[test]
    fn keeps_less_for_those_who_can_be_served_after_the_newcomer() {
        let (demand, now) = demand(400);
        let kept = |slack| demand.reserve(now, &asked(now, slack), LONG);
        assert!((kept(SOON) - 0.5 * 0.5).abs() < 1e-9, "as much time as theirs: {}", kept(SOON));
        assert_eq!(kept(Span::from_millis(500)), 0.0, "they all can wait until it is done");
    }

    #[test]
    fn keeps_nothing_as_long_as_all_can_be_served() {
        let mut demand = DemandEstimator::default();
        (0..20).for_each(|half_s| note(&mut demand, Instant(half_s * 500_000_000), SHORT));
        assert_eq!(reserve(&demand, Instant(10_000_000_000), LONG), 0.0);
    }

    #[test]
    fn after_a_pause_callers_are_taken_to_come_as_they_come_now() {
        let (before, now) = demand(400);
        let mut after = before.clone();
        let resumed = now + Span::from_millis(55_000);
        (0..40).for_each(|count| note(&mut after, resumed + SHORT * count, SHORT));
        (0..10).for_each(|count| note(&mut after, resumed + SHORT * (4 * count), LONG));
        let mut fresh = DemandEstimator::default();
        (0..40).for_each(|count| note(&mut fresh, resumed + SHORT * count, SHORT));
        (0..10).for_each(|count| note(&mut fresh, resumed + SHORT * (4 * count), LONG));
        let later = resumed + Span::from_millis(8_000);
        assert!(reserve(&after, later, LONG) > 0.9, "{}", reserve(&after, later, LONG));
        assert_eq!(reserve(&after, later, LONG), reserve(&fresh, later, LONG));
    }

    #[test]
    fn forgets_what_was_asked_more_than_a_minute_ago() {
        let (demand, now) = demand(400);
        assert_eq!(reserve(&demand, now + WINDOW + Span(1), LONG), 0.0);
    }
}
