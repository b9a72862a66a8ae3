//! What the node decides, as a bounded stream of events that costs nothing without subscribers.

use hedgerow_core::engine::Step;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::running::Running;
use hedgerow_core::time::{Instant, Span};
use serde::Serialize;
use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};

use crate::metrics::reason;

/// Events that wait for a subscriber; one that is slower misses some, and is told how many.
const WAITING_MAX: usize = 1024;

/// How often the steps are reported, as a sum.
const STEPS_EVERY: Span = Span::from_millis(1_000);

/// One decision, or what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum NodeEvent {
    /// A request has arrived at the scheduler.
    Arrived {
        /// The request, as in `x-request-id`.
        request: String,
        /// Tokens of its prompt.
        prompt_tokens: u32,
        /// The most tokens of its answer.
        max_output_tokens: u32,
        /// Time to its deadline; `None` for best effort.
        deadline_ms: Option<f64>,
    },
    /// A request was admitted and has started.
    Started {
        /// The request.
        request: String,
        /// The precision that it runs at.
        precision: String,
        /// How long it waited.
        queue_ms: f64,
    },
    /// A request was refused.
    Refused {
        /// The request.
        request: String,
        /// The code of the refusal.
        reason: &'static str,
        /// The refusal in words, with its limit and value.
        message: String,
    },
    /// A request has ended.
    Ended {
        /// The request.
        request: String,
        /// How: met, late, expired, cancelled, failed, shut_down.
        outcome: &'static str,
        /// Why the answer ended.
        reason: &'static str,
        /// Tokens of the answer.
        produced_tokens: u32,
        /// Time from its arrival.
        e2e_ms: f64,
    },
    /// The steps since the last such event.
    Steps {
        /// How many.
        steps: u64,
        /// Prompt tokens that they prefilled.
        prefill_tokens: u64,
        /// Tokens that they decoded.
        decode_tokens: u64,
    },
    /// A precision is being loaded.
    Loading {
        /// Its name.
        precision: String,
    },
    /// A precision was unloaded.
    Unloaded {
        /// Its name.
        precision: String,
    },
}

/// The driver's side of the stream.
#[derive(Debug)]
pub(super) struct Events {
    sender: Sender<NodeEvent>,
    /// The steps that are not reported yet, since when.
    steps: (u64, u64, u64),
    since: Instant,
}

/// The watchers' side, which does not keep the stream open.
#[derive(Clone, Debug)]
pub(super) struct EventSource(WeakSender<NodeEvent>);

impl EventSource {
    /// A subscription; `None` if there are `most` already, or the driver has ended.
    pub(super) fn subscribe(&self, most: usize) -> Option<Receiver<NodeEvent>> {
        let sender = self.0.upgrade()?;
        (sender.receiver_count() < most).then(|| sender.subscribe())
    }
}

impl Events {
    /// A stream without subscribers.
    pub(super) fn new(now: Instant) -> Self {
        Self { sender: broadcast::channel(WAITING_MAX).0, steps: (0, 0, 0), since: now }
    }

    /// What subscribes to it.
    pub(super) fn source(&self) -> EventSource {
        EventSource(self.sender.downgrade())
    }

    fn send(&self, event: impl FnOnce() -> NodeEvent) {
        if self.sender.receiver_count() > 0 {
            // The last subscriber may have gone this moment.
            let _ = self.sender.send(event());
        }
    }

    pub(super) fn arrived(&self, now: Instant, request: &Request) {
        self.send(|| NodeEvent::Arrived {
            request: name(request.id),
            prompt_tokens: request.prompt_len.0,
            max_output_tokens: request.max_output.0,
            deadline_ms: request.slack(now).map(Span::as_millis),
        });
    }

    pub(super) fn started(&self, now: Instant, running: &Running, precision: &str) {
        self.send(|| NodeEvent::Started {
            request: name(running.request.id),
            precision: precision.to_owned(),
            queue_ms: now.since(running.request.arrived).as_millis(),
        });
    }

    pub(super) fn ended(&self, record: &Record) {
        self.send(|| {
            let request = name(record.request.id);
            let reason = reason(&record.outcome);
            if let Outcome::Rejected(rejection) = &record.outcome {
                return NodeEvent::Refused { request, reason, message: rejection.to_string() };
            }
            NodeEvent::Ended {
                request,
                outcome: record.outcome.name(),
                reason,
                produced_tokens: record.produced.0,
                e2e_ms: record.ended.since(record.request.arrived).as_millis(),
            }
        });
    }

    /// Adds a step, and reports the steps once a second.
    pub(super) fn step(&mut self, now: Instant, step: &Step) {
        let (steps, prefill, decode) = &mut self.steps;
        *steps += 1;
        *prefill += step.prefill.iter().map(|chunk| u64::from(chunk.tokens.0)).sum::<u64>();
        *decode += step.decode.len() as u64;
        if now.since(self.since) >= STEPS_EVERY {
            let (steps, prefill_tokens, decode_tokens) = std::mem::take(&mut self.steps);
            self.since = now;
            self.send(|| NodeEvent::Steps { steps, prefill_tokens, decode_tokens });
        }
    }

    pub(super) fn loading(&self, precision: &str) {
        self.send(|| NodeEvent::Loading { precision: precision.to_owned() });
    }

    pub(super) fn unloaded(&self, precision: &str) {
        self.send(|| NodeEvent::Unloaded { precision: precision.to_owned() });
    }
}

fn name(request: RequestId) -> String {
    format!("req-{}", request.0)
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::PrefillChunk;
    use hedgerow_core::units::Tokens;

    use super::*;

    #[test]
    fn steps_are_reported_as_a_sum_once_a_second() {
        let mut events = Events::new(Instant::START);
        let mut watching = events.source().subscribe(1).unwrap();
        let step = Step {
            prefill: vec![PrefillChunk { request: RequestId(1), tokens: Tokens(5) }],
            decode: vec![RequestId(2), RequestId(3)],
            ..Step::default()
        };
        for tenth in 1..=10 {
            assert!(watching.try_recv().is_err());
            events.step(Instant::START + Span::from_millis(100 * tenth), &step);
        }
        let sum = NodeEvent::Steps { steps: 10, prefill_tokens: 50, decode_tokens: 20 };
        assert_eq!(watching.try_recv(), Ok(sum));
    }

    #[test]
    fn the_stream_has_a_limit_of_subscribers_and_ends_with_its_driver() {
        let events = Events::new(Instant::START);
        let source = events.source();
        let first = source.subscribe(1);
        assert!(first.is_some() && source.subscribe(1).is_none());
        drop(first);
        let mut second = source.subscribe(1).unwrap();
        drop(events);
        assert_eq!(second.try_recv(), Err(broadcast::error::TryRecvError::Closed));
        assert!(source.subscribe(5).is_none());
    }
}
