//! The duration of an epoch's batch: its prompts first, then its decodes in shared steps, as [`super::compose`]
//! runs them.
//!
//! An instance adds up each request's own compute time. Where decodes share steps, the sum is exact only for a batch
//! of the assumed size whose answers all have the same length. So a plan for an epoch is accepted only after this
//! check.

use super::reduce::{Candidate, Reduction};
use super::view::View;
use crate::engine::StepLoad;
use crate::model::cost::ChunkLoad;
use crate::model::time::Span;
use crate::model::units::Tokens;
use crate::quantization::PrecisionIndex;
use hedgerow_solver::Limit;

/// Drops requests from an answer until the batch meets the compute slot and its deadlines: the longest job first, or
/// the latest arrival where the policy takes requests in order of arrival. Returns the limit that was exceeded.
pub(super) fn drop_until_fits(
    view: &View<'_>,
    reduction: &Reduction<'_>,
    chosen: &mut Vec<usize>,
) -> Option<Limit> {
    let mut exceeded = None;
    loop {
        let (time, limit) = limit(reduction, chosen);
        if takes(view, reduction, chosen) <= time {
            return exceeded;
        }
        exceeded = exceeded.or(Some(limit));
        let out = if view.state.settings.policy.traits().plans_for_all {
            let work = |&place: &usize| reduction.members[chosen[place]].work;
            (0..chosen.len()).max_by_key(work)
        } else {
            chosen.len().checked_sub(1)
        };
        chosen.remove(out.expect("an empty batch takes no time"));
    }
}

/// The time that a batch may take, and the limit that sets it.
fn limit(reduction: &Reduction<'_>, chosen: &[usize]) -> (Span, Limit) {
    let slacks = chosen.iter().map(|&index| reduction.instance.items[index].slack_us);
    let slot_us = reduction.instance.capacity.compute_us;
    match slacks.min() {
        Some(slack_us) if slack_us < slot_us => (Span::from_micros(slack_us), Limit::Deadline),
        Some(_) | None => (Span::from_micros(slot_us), Limit::Compute),
    }
}

fn takes(view: &View<'_>, reduction: &Reduction<'_>, chosen: &[usize]) -> Span {
    let mut batch: Vec<&Candidate<'_>> = chosen.iter().map(|&index| &reduction.members[index]).collect();
    if view.state.settings.policy.traits().plans_for_all {
        batch.sort_by_key(|candidate| candidate.request.urgency());
    }
    let Some(first) = batch.first() else { return Span::ZERO };
    let longest = batch.iter().map(|candidate| candidate.request.prompt_len).max().unwrap_or_default();
    let padded = |candidate: &Candidate<'_>| view.state.settings.pad(candidate.request.prompt_len, longest);
    let prompts = batch.iter().map(|candidate| (candidate.request.cached, padded(candidate)));
    let answers = batch
        .iter()
        .map(|candidate| (candidate.request.expected_output.0.saturating_sub(1), padded(candidate)));
    let precision = first.precision;
    (prefill(view, precision, prompts) + decodes(view, precision, answers.collect()))
        .scaled(view.state.safety_factor())
}

/// Time to prefill `prompts`, each given by its cached tokens and its length; every step is filled to
/// `prefill_chunk`.
fn prefill(
    view: &View<'_>,
    precision: PrecisionIndex,
    prompts: impl Iterator<Item = (Tokens, Tokens)>,
) -> Span {
    let chunk = view.state.node.prefill_chunk;
    let (mut time, mut step, mut left) = (Span::ZERO, StepLoad::default(), chunk);
    for (mut start, prompt) in prompts {
        while start < prompt {
            let tokens = left.min(prompt - start);
            step.prefill.push(ChunkLoad { tokens, start, prompt });
            (start, left) = (start + tokens, left - tokens);
            if left == Tokens::ZERO {
                time += view.state.step_time(precision, &std::mem::take(&mut step));
                left = chunk;
            }
        }
    }
    if step.prefill.is_empty() { time } else { time + view.state.step_time(precision, &step) }
}

/// Time to decode `answers`, each given by its decode steps and the cache it begins with: all share each step
/// until the shortest ends, and so on.
fn decodes(view: &View<'_>, precision: PrecisionIndex, mut answers: Vec<(u32, Tokens)>) -> Span {
    answers.sort_unstable();
    let (mut time, mut done) = (Span::ZERO, 0);
    for first in 0..answers.len() {
        let steps = answers[first].0 - done;
        if steps == 0 {
            continue;
        }
        // The caches grow during these steps; their size half-way stands for all of them.
        let caches = answers[first..].iter().map(|&(_, prompt)| prompt + Tokens(done + steps / 2));
        let load = StepLoad {
            prefill: Vec::new(),
            decode_count: caches.len() as u32,
            decode_kv: caches.clone().map(|cache| u64::from(cache.0)).sum(),
            decode_longest: caches.max().unwrap_or_default(),
        };
        time += view.state.step_time(precision, &load) * steps;
        done += steps;
    }
    time
}
