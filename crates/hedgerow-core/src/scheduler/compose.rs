//! What the next step runs: which requests decode, and how much of which prompt is prefilled.

use super::view::View;
use crate::engine::cost::ChunkLoad;
use crate::engine::{PrefillChunk, Step, StepLoad};
use crate::request::Request;
use crate::running::Running;
use crate::settings::Protocol;
use crate::time::Span;
use crate::units::Tokens;
use hedgerow_solver::Policy;

/// A chunk this short is not worth a step: prompts wait for the decodes instead.
const LEAST_CHUNK: Tokens = Tokens(16);

/// Composes the next step of those who are ready; empty when nobody is.
///
/// - `epoch`: the whole batch's prompts first, then its decodes together, as the paper has it.
/// - `continuous`: the most urgent and those of the same precision, as many as the plan lets take part, decode beside chunks of their most
///   urgent prompts; the others pause. A prompt takes no more time from a more urgent request's decodes than
///   that request can spare. Those who name no time go first when they are owed it.
///
/// Without batching (`none`) a step has one request, under both.
pub fn compose(view: &View<'_>) -> Step {
    let mut ready: Vec<&Running> = view.running.iter().filter(|running| running.ready <= view.now).collect();
    if view.settings.policy.plans_for_all() {
        let is_owed = |request: &Request| view.owes_best_effort && request.is_best_effort();
        ready.sort_by_cached_key(|running| (!is_owed(&running.request), running.request.urgency()));
    }
    if matches!(view.settings.policy, Policy::None { .. }) {
        // Whose accelerator is furthest behind; a prompt would hold up all the others, so it waits for decodes.
        ready.sort_by_key(|running| (!running.is_decoding(), running.ready, running.request.id));
        ready.truncate(1);
    }
    // A step has one precision: that of the first.
    let precision = ready.first().map(|running| running.precision).unwrap_or_default();
    let rival = ready.iter().find(|running| running.precision != precision).map(|running| running.request.id);
    let before_rival = ready.iter().take_while(|running| Some(running.request.id) != rival).count();
    ready.retain(|running| running.precision == precision);
    if view.settings.policy.plans_for_all() {
        ready.truncate(view.batch as usize);
    }
    let decoding = ready.iter().filter(|running| running.is_decoding());
    let decode: Vec<_> = decoding.map(|running| running.request.id).collect();
    let prefill = chunks(view, &ready, before_rival);
    match view.settings.protocol {
        Protocol::Epoch { .. } if !prefill.is_empty() => Step { precision, prefill, decode: Vec::new() },
        Protocol::Epoch { .. } | Protocol::Continuous => Step { precision, prefill, decode },
    }
}

/// The prompts of the first so many that are ready: a prompt waits for whoever is more urgent and needs steps
/// of another precision.
fn chunks(view: &View<'_>, ready: &[&Running], before_rival: usize) -> Vec<PrefillChunk> {
    // In most steps all decode, and then nobody needs to know what they can spare.
    if ready.iter().all(|running| running.is_decoding()) {
        return Vec::new();
    }
    let mut left = view.node.prefill_chunk;
    let mut spare = Span::MAX;
    let mut chunks = Vec::new();
    let batch = ready.len() as u32;
    for running in ready.iter().take(before_rival) {
        if running.is_decoding() {
            spare = spare.min(time_to_spare(view, running, batch));
            continue;
        }
        let wanted = running.prompt_left();
        let tokens = longest_chunk(view, running, wanted.min(left), spare);
        if tokens == Tokens::ZERO {
            break;
        }
        chunks.push(PrefillChunk { request: running.request.id, tokens });
        left = left - tokens;
        spare = spare.saturating_sub(chunk_time(view, running, tokens));
        if left == Tokens::ZERO || tokens < wanted {
            break;
        }
    }
    chunks
}

/// How much later than without prompts a decoding request's next step may end.
fn time_to_spare(view: &View<'_>, running: &Running, batch: u32) -> Span {
    let is_epoch = matches!(view.settings.protocol, Protocol::Epoch { .. });
    if is_epoch || !view.settings.policy.plans_for_all() {
        return Span::MAX;
    }
    let decode_kv = u64::from(batch) * u64::from(running.kv().0);
    let load = StepLoad { prefill: Vec::new(), decode_count: batch, decode_kv, decode_longest: running.kv() };
    let step = view.step_time(running.precision, &load);
    let own_path = (step * running.decodes_left()).scaled(view.stretch());
    running.request.slack(view.now).saturating_sub(own_path + view.node.downlink_slot())
}

/// The longest chunk of at most `most` tokens that takes no more than `spare`.
fn longest_chunk(view: &View<'_>, running: &Running, most: Tokens, spare: Span) -> Tokens {
    let mut tokens = most;
    while tokens > Tokens::ZERO && chunk_time(view, running, tokens) > spare {
        tokens = Tokens(tokens.0 / 2);
        if tokens < LEAST_CHUNK {
            return Tokens::ZERO;
        }
    }
    tokens
}

fn chunk_time(view: &View<'_>, running: &Running, tokens: Tokens) -> Span {
    let chunk = ChunkLoad { tokens, start: running.prefilled, prompt: running.prompt };
    view.chunk_time(running.precision, chunk)
}
