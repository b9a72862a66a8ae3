//! Step composition: which requests decode in the next step, and how many tokens of which prompts it prefills
//! (continuous batching with chunked prefill).

use super::view::NodeState;
use crate::engine::{PrefillChunk, Step, StepLoad};
use crate::model::cost::ChunkLoad;
use crate::model::request::Request;
use crate::model::running::Running;
use crate::model::settings::Protocol;
use crate::model::time::Span;
use crate::model::units::Tokens;
use hedgerow_solver::Policy;

/// The shortest chunk worth a step; where the decodes leave less time, prompts wait.
const LEAST_CHUNK: Tokens = Tokens(16);

/// Composes the next step from the ready requests; the step is empty when none is ready.
///
/// - `epoch`: all prompts of the batch first, then its decodes in shared steps, as in the paper.
/// - `continuous`: the step takes the precision of the most urgent request and the most urgent requests of that
///   precision, at most the plan's batch limit. Decodes run beside chunks of the most urgent prompts (chunked
///   prefill); the other requests pause. A prompt delays the decodes of a more urgent request by no more than
///   its slack. Best-effort requests come first while they have credit.
///
/// Without batching (`none`) a step has one request, under both protocols.
pub fn compose(state: &NodeState<'_>) -> Step {
    let mut ready: Vec<&Running> =
        state.running.iter().filter(|running| running.ready <= state.now).collect();
    if state.settings.policy.traits().plans_for_all {
        let has_credit = |request: &Request| state.best_effort_has_credit && request.is_best_effort();
        ready.sort_by_cached_key(|running| (!has_credit(&running.request), running.request.urgency()));
    }
    if matches!(state.settings.policy, Policy::None { .. }) {
        // The request whose accelerator is furthest behind; decodes first, because a prompt would delay all others.
        ready.sort_by_key(|running| (!running.is_decoding(), running.ready, running.request.id));
        ready.truncate(1);
    }
    // A step has one precision: that of the first request.
    let precision = ready.first().map(|running| running.precision).unwrap_or_default();
    let other = ready.iter().find(|running| running.precision != precision).map(|running| running.request.id);
    let before_other = ready.iter().take_while(|running| Some(running.request.id) != other).count();
    ready.retain(|running| running.precision == precision);
    if state.settings.policy.traits().plans_for_all {
        ready.truncate(state.batch as usize);
    }
    let decoding = ready.iter().filter(|running| running.is_decoding());
    let decode: Vec<_> = decoding.map(|running| running.request.id).collect();
    let prefill = chunks(state, &ready, before_other);
    match state.settings.protocol {
        Protocol::Epoch { .. } if !prefill.is_empty() => Step { precision, prefill, decode: Vec::new() },
        Protocol::Epoch { .. } | Protocol::Continuous => Step { precision, prefill, decode },
    }
}

/// Chunks for the prompts among the first `before_other` ready requests: a prompt waits for more urgent requests
/// of another precision, which need steps of their own.
fn chunks(state: &NodeState<'_>, ready: &[&Running], before_other: usize) -> Vec<PrefillChunk> {
    // In most steps all requests decode; their slack is not needed then.
    if ready.iter().all(|running| running.is_decoding()) {
        return Vec::new();
    }
    let mut left = state.node.prefill_chunk;
    // The delay by prompts that the more urgent decodes tolerate; `None`: any.
    let mut spare: Option<Span> = None;
    let mut chunks = Vec::new();
    let batch = ready.len() as u32;
    for running in ready.iter().take(before_other) {
        if running.is_decoding() {
            spare = spare.into_iter().chain(time_to_spare(state, running, batch)).min();
            continue;
        }
        let wanted = running.prompt_left();
        let tokens = longest_chunk(state, running, wanted.min(left), spare);
        if tokens == Tokens::ZERO {
            break;
        }
        chunks.push(PrefillChunk { request: running.request.id, tokens });
        left = left - tokens;
        spare = spare.map(|spare| spare.saturating_sub(chunk_time(state, running, tokens)));
        if left == Tokens::ZERO || tokens < wanted {
            break;
        }
    }
    chunks
}

/// The delay by prompts that a decoding request's next step tolerates; `None`: any.
fn time_to_spare(state: &NodeState<'_>, running: &Running, batch: u32) -> Option<Span> {
    let is_epoch = matches!(state.settings.protocol, Protocol::Epoch { .. });
    if is_epoch || !state.settings.policy.traits().plans_for_all {
        return None;
    }
    let slack = running.request.slack(state.now)?;
    let decode_kv = u64::from(batch) * u64::from(running.kv().0);
    let load = StepLoad { prefill: Vec::new(), decode_count: batch, decode_kv, decode_longest: running.kv() };
    let step = state.step_time(running.precision, &load);
    let own_path = (step * running.decodes_left()).scaled(state.safety_factor());
    Some(slack.saturating_sub(own_path + state.node.downlink_slot()))
}

/// The longest chunk of at most `most` tokens that takes no more time than `spare`, found by halving.
fn longest_chunk(state: &NodeState<'_>, running: &Running, most: Tokens, spare: Option<Span>) -> Tokens {
    let Some(spare) = spare else { return most };
    let mut tokens = most;
    while tokens > Tokens::ZERO && chunk_time(state, running, tokens) > spare {
        tokens = Tokens(tokens.0 / 2);
        if tokens < LEAST_CHUNK {
            return Tokens::ZERO;
        }
    }
    tokens
}

fn chunk_time(state: &NodeState<'_>, running: &Running, tokens: Tokens) -> Span {
    let chunk = ChunkLoad { tokens, start: running.prefilled, prompt: running.padded_len };
    state.chunk_time(running.precision, chunk)
}
