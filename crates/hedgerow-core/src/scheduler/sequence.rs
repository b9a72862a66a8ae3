//! A request as step composition sees it: one that runs, or the forecast of one.

use super::view::{NodeState, View};
use crate::model::cost::ChunkLoad;
use crate::model::request::{Request, Urgency};
use crate::model::running::Running;
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::quantization::PrecisionIndex;

/// A request's progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) urgency: Urgency,
    pub(super) precision: PrecisionIndex,
    /// When its next step may begin; `None` until it has a place.
    pub(super) ready: Option<Instant>,
    /// From the time of the node's state until its last token must leave the engine; `None` without a deadline.
    pub(super) slack: Option<Span>,
    pub(super) padded_len: Tokens,
    pub(super) prefilled: Tokens,
    pub(super) decodes_left: u32,
    /// Tokens it holds in the KV cache.
    pub(super) kv: Tokens,
}

impl Sequence {
    /// A running request.
    pub(super) fn of_running(state: &NodeState<'_>, running: &Running) -> Self {
        Self {
            urgency: running.request.urgency(),
            precision: running.precision,
            ready: Some(running.ready),
            slack: at_the_engine(state, running.request.slack(state.now)),
            padded_len: running.padded_len,
            prefilled: running.prefilled,
            decodes_left: running.decodes_left(),
            kv: running.kv(),
        }
    }

    /// A waiting request that is planned at a precision, in a batch whose longest prompt is `longest`.
    pub(super) fn of_planned(
        view: &View<'_>,
        request: &Request,
        precision: PrecisionIndex,
        longest: Tokens,
    ) -> Self {
        Self {
            urgency: request.urgency(),
            precision,
            ready: None,
            slack: at_the_engine(&view.state, view.slack_to_plan_with(request)),
            padded_len: view.state.settings.pad(request.prompt_len, longest),
            prefilled: request.cached,
            decodes_left: request.expected_output.0.saturating_sub(1),
            kv: request.cached,
        }
    }

    pub(super) fn prompt_left(&self) -> Tokens {
        self.padded_len - self.prefilled
    }

    pub(super) fn is_decoding(&self) -> bool {
        self.prefilled == self.padded_len
    }

    pub(super) fn is_ready(&self, at: Instant) -> bool {
        self.ready.is_some_and(|ready| ready <= at)
    }

    /// The next `tokens` of its prompt.
    pub(super) fn chunk(&self, tokens: Tokens) -> ChunkLoad {
        ChunkLoad { tokens, start: self.prefilled, prompt: self.padded_len }
    }
}

/// What a slack leaves for the engine: without the time that the answer takes to the caller.
fn at_the_engine(state: &NodeState<'_>, slack: Option<Span>) -> Option<Span> {
    Some(slack?.saturating_sub(state.node.downlink_slot()))
}
