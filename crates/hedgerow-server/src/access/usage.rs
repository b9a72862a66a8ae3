//! What a key has used of its limits: token buckets for requests and tokens, and the requests under way.

use std::sync::{Mutex, PoisonError};

use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Tokens;

use super::keys::KeyEntry;
use super::refusal::AccessRefusal;

const HOUR_S: f64 = 3600.0;

/// What a key has used.
#[derive(Debug)]
pub(super) struct Usage(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the buckets were last refilled.
    at: Instant,
    /// Requests that may come at once now.
    requests: f64,
    /// Tokens left now; negative after an answer that was longer than what was left.
    tokens: f64,
    under_way: u32,
}

impl Usage {
    /// Nothing used.
    pub(super) fn new(entry: &KeyEntry, now: Instant) -> Self {
        let (requests, tokens) = (burst(entry), entry.tokens_per_hour.unwrap_or(0.0));
        Self(Mutex::new(State { at: now, requests, tokens, under_way: 0 }))
    }

    /// Begins a request, which [`Usage::end`] ends.
    ///
    /// # Errors
    ///
    /// When a limit is used up: which, and when there is room again. The refused request uses nothing.
    pub(super) fn begin(&self, entry: &KeyEntry, now: Instant) -> Result<(), AccessRefusal> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.refill(entry, now);
        if let Some(limit) = entry.concurrency.filter(|&limit| state.under_way >= limit) {
            let said = format!("this key has {limit} requests under way, as many as it may");
            return Err(AccessRefusal::LimitUsed {
                limit: "concurrency",
                said,
                retry_after: Span::from_millis(1000),
            });
        }
        if let Some(rate) = entry.requests_per_s.filter(|_| state.requests < 1.0) {
            let wait = Span::from_seconds((1.0 - state.requests) / rate);
            let said = format!("this key may send {rate} requests a second");
            return Err(AccessRefusal::LimitUsed { limit: "requests_per_s", said, retry_after: wait });
        }
        if let Some(budget) = entry.tokens_per_hour.filter(|_| state.tokens <= 0.0) {
            let wait = Span::from_seconds((1.0 - state.tokens) * HOUR_S / budget);
            let said = format!("this key has used its {budget} tokens an hour");
            return Err(AccessRefusal::LimitUsed { limit: "tokens_per_hour", said, retry_after: wait });
        }
        state.requests -= 1.0;
        state.under_way += 1;
        Ok(())
    }

    /// Ends a request.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
    }

    /// Charges tokens to the budget.
    pub(super) fn charge(&self, entry: &KeyEntry, tokens: Tokens, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.refill(entry, now);
        state.tokens -= f64::from(tokens.0);
    }
}

impl State {
    fn refill(&mut self, entry: &KeyEntry, now: Instant) {
        let passed_s = now.since(self.at).as_seconds();
        self.at = now;
        let rate = entry.requests_per_s.unwrap_or(f64::INFINITY);
        self.requests = (self.requests + rate * passed_s).min(burst(entry));
        let budget = entry.tokens_per_hour.unwrap_or(0.0);
        self.tokens = (self.tokens + budget * passed_s / HOUR_S).min(budget);
    }
}

/// Requests that may come at once.
fn burst(entry: &KeyEntry) -> f64 {
    match entry.requests_per_s {
        Some(rate) => entry.burst.unwrap_or(rate).max(1.0),
        None => f64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Span::from_millis(ms)
    }

    fn said(refused: Result<(), AccessRefusal>) -> Option<String> {
        match refused.err()? {
            AccessRefusal::LimitUsed { said, .. } => Some(said),
            AccessRefusal::NoKey { .. } | AccessRefusal::NotAllowed { .. } => None,
        }
    }

    #[test]
    fn a_rate_allows_a_burst_and_then_its_requests_per_second() {
        let entry = KeyEntry { requests_per_s: Some(2.0), burst: Some(3.0), ..KeyEntry::new("a", "x") };
        let usage = Usage::new(&entry, at(0));
        let begun = |ms| usage.begin(&entry, at(ms)).is_ok();
        assert_eq!(
            [0, 0, 0, 0, 400, 500, 500, 1000].map(begun),
            [true, true, true, false, false, true, false, true]
        );
    }

    #[test]
    fn a_request_under_way_counts_until_it_ends() {
        let entry = KeyEntry { concurrency: Some(1), ..KeyEntry::new("a", "x") };
        let usage = Usage::new(&entry, at(0));
        assert!(usage.begin(&entry, at(0)).is_ok());
        let said = said(usage.begin(&entry, at(0))).unwrap();
        assert!(said.starts_with("this key has 1 requests under way"), "{said}");
        usage.end();
        assert!(usage.begin(&entry, at(0)).is_ok());
    }

    #[test]
    fn a_budget_of_tokens_may_be_overdrawn_by_one_answer_and_comes_back_with_time() {
        let entry = KeyEntry { tokens_per_hour: Some(3600.0), ..KeyEntry::new("a", "x") };
        let usage = Usage::new(&entry, at(0));
        usage.begin(&entry, at(0)).unwrap();
        usage.charge(&entry, Tokens(3610), at(0));
        let begun = |ms| usage.begin(&entry, at(ms)).is_ok();
        assert_eq!([0, 9_000, 11_000].map(begun), [false, false, true]);
    }
}
