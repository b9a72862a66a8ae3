//! The log line of a request: one for each, whether the node saw the request or it was refused before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::output::Record;
use hedgerow_core::request::RequestId;
use hedgerow_core::time::{Instant, Span};

use crate::clock::Clock;
use crate::metrics::{Metrics, reason};

/// The longest name from a client that is logged, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// What is known of a request; its line is written when the last owner drops it. The server and the driver each hold
/// one, because a caller that hangs up is gone before its request has ended.
#[derive(Debug)]
pub struct RequestLog {
    clock: Clock,
    metrics: Arc<Metrics>,
    arrived: Instant,
    facts: Mutex<RequestFacts>,
}

/// The parts of a request's line that become known on its way; none is text of a prompt or an answer.
#[derive(Debug, Default)]
pub struct RequestFacts {
    /// The number that the node gave it.
    pub id: Option<RequestId>,
    /// The client's own `x-request-id`.
    pub client_id: Option<String>,
    /// The name of the caller's key.
    pub key: Option<String>,
    /// The served model.
    pub model: Option<String>,
    /// The path that was asked.
    pub endpoint: Option<&'static str>,
    /// Whether the answer is streamed, where the body was read.
    pub streamed: Option<bool>,
    /// Prompt tokens, where the prompt was tokenized.
    pub prompt_tokens: Option<u32>,
    /// The client's deadline, counted from the arrival.
    pub deadline: Option<Span>,
    /// The status of the response; `None` if the caller hung up before.
    pub status: Option<u16>,
    /// The code of the error response.
    pub error: Option<&'static str>,
    /// How it ended in the node, and the name of the precision that it ran at.
    pub ended: Option<(Record, Option<String>)>,
}

impl RequestLog {
    /// Begins the line of a request that arrives now.
    pub fn new(clock: Clock, metrics: &Arc<Metrics>) -> Arc<Self> {
        let (arrived, metrics) = (clock.now(), Arc::clone(metrics));
        Arc::new(Self { clock, metrics, arrived, facts: Mutex::default() })
    }

    /// Adds what has become known.
    pub fn note(&self, add: impl FnOnce(&mut RequestFacts)) {
        add(&mut self.facts());
    }

    /// The `x-request-id` that the client sees: its own, or `req-` with the node's number; `None` without either.
    pub fn name(&self) -> Option<String> {
        self.facts().name()
    }

    fn facts(&self) -> MutexGuard<'_, RequestFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestFacts {
    /// Notes the client's own name of the request, unless it is too long.
    pub fn note_client_id(&mut self, name: &str) {
        self.client_id = Some(name).filter(|name| name.len() <= CLIENT_ID_BYTES_MAX).map(str::to_owned);
    }

    fn name(&self) -> Option<String> {
        self.client_id.clone().or_else(|| self.id.map(|id| format!("req-{}", id.0)))
    }

    fn outcome(&self) -> &'static str {
        match (&self.ended, self.status) {
            (Some((record, _)), _) => record.outcome.name(),
            (None, None) => "cancelled",
            // The node failed, or did not see to the request's end.
            (None, Some(..400 | 500)) => "failed",
            (None, Some(_)) if self.error == Some("node_failed") => "failed",
            (None, Some(_)) => "rejected",
        }
    }

    /// The code of the error response, or why the answer ended; empty where the outcome needs none.
    fn reason(&self) -> &'static str {
        let of_node = || self.ended.as_ref().map(|(record, _)| reason(&record.outcome));
        self.error.or_else(of_node).unwrap_or_default()
    }

    fn write(&self, now: Instant, arrived: Instant) {
        let record = self.ended.as_ref().map(|(record, _)| record);
        let millis = |span: Option<Span>| span.map(|span| span.as_millis().round());
        let e2e = record.map_or(now.since(arrived), |record| record.ended.since(record.request.arrived));
        tracing::info!(
            request = self.name(),
            id = self.id.map(|id| format!("req-{}", id.0)),
            client_id = self.client_id,
            key = self.key,
            model = self.model,
            endpoint = self.endpoint,
            outcome = self.outcome(),
            reason = self.reason(),
            status = self.status,
            prompt = self.prompt_tokens,
            cached = record.map(|record| record.cached.0),
            produced = record.map(|record| record.produced.0),
            precision = self.ended.as_ref().and_then(|(_, precision)| precision.as_deref()),
            queue_ms = millis(record.and_then(Record::queue_time)),
            ttft_ms = millis(record.and_then(Record::ttft)),
            tpot_ms = record.and_then(Record::tpot).map(Span::as_millis),
            e2e_ms = e2e.as_millis().round(),
            deadline_ms = millis(self.deadline),
            streamed = self.streamed,
            "request ended"
        );
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let now = self.clock.now();
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &facts.key {
            self.metrics.key_request(key, facts.outcome());
        }
        facts.write(now, self.arrived);
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::output::Outcome;
    use hedgerow_core::request::Request;
    use hedgerow_core::units::Tokens;

    use super::*;

    fn facts(status: Option<u16>, error: Option<&'static str>) -> RequestFacts {
        RequestFacts { status, error, ..RequestFacts::default() }
    }

    #[test]
    fn a_request_that_the_node_never_saw_has_an_outcome_by_its_response() {
        let outcome = |status, error| facts(status, error).outcome();
        assert_eq!(outcome(Some(401), Some("invalid_api_key")), "rejected");
        assert_eq!(outcome(Some(503), Some("loading")), "rejected");
        assert_eq!(outcome(Some(503), Some("node_failed")), "failed");
        assert_eq!(outcome(Some(500), Some("engine_error")), "failed");
        assert_eq!(outcome(Some(200), None), "failed", "a stream that broke off");
        assert_eq!(outcome(None, None), "cancelled");
    }

    #[test]
    fn the_record_of_the_node_counts_for_more_than_the_response() {
        let request = Request::new(RequestId(3), Instant(0), Tokens(1), Tokens(2));
        let record = Record::unserved(request, Outcome::Cancelled, Instant(5));
        let facts = RequestFacts { ended: Some((record, None)), ..facts(Some(200), None) };
        assert_eq!((facts.outcome(), facts.reason()), ("cancelled", ""));
    }

    #[test]
    fn a_client_sees_its_own_name_and_else_the_number() {
        let mut facts = RequestFacts { id: Some(RequestId(7)), ..RequestFacts::default() };
        assert_eq!(facts.name().as_deref(), Some("req-7"));
        facts.note_client_id("mine");
        assert_eq!(facts.name().as_deref(), Some("mine"));
        facts.note_client_id(&"x".repeat(1000));
        assert_eq!(facts.client_id, None, "a long name is not logged");
    }
}
