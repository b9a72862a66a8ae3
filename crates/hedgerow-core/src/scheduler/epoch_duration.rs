//! How long an epoch's batch takes: its prompts first, then its decodes together, as [`super::compose`] has it.
//!
//! An instance adds up what each request takes by itself. Where decodes share steps, that is right only for a batch of
//! the size that it supposes, whose answers are all as long. So nothing is planned for an epoch that this does not
//! confirm.

use super::reduce::{Candidate, Reduction};
use super::view::View;
use crate::engine::StepLoad;
use crate::engine::cost::ChunkLoad;
use crate::quantization::PrecisionIndex;
use crate::time::Span;
use crate::units::Tokens;
use hedgerow_solver::Limit;

/// Drops from an answer what does not fit the compute slot, or its deadlines, together with the rest: the dearest
/// first, or whoever came last where the policy takes them as they come. Gives the limit that had to be kept.
pub(super) fn keep_what_fits(
    view: &View<'_>,
    reduction: &Reduction<'_>,
    chosen: &mut Vec<usize>,
) -> Option<Limit> {
    let mut kept = None;
    loop {
        let (time, limit) = limit(reduction, chosen);
        if takes(view, reduction, chosen) <= time {
            return kept;
        }
        kept = kept.or(Some(limit));
        let out = if view.settings.policy.plans_for_all() {
            let work = |&place: &usize| reduction.members[chosen[place]].work;
            (0..chosen.len()).max_by_key(work)
        } else {
            chosen.len().checked_sub(1)
        };
        chosen.remove(out.expect("nobody takes no time"));
    }
}

/// The time that these have together, and what it is.
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
    if view.settings.policy.plans_for_all() {
        batch.sort_by_key(|candidate| candidate.request.urgency());
    }
    let Some(first) = batch.first() else { return Span::ZERO };
    let longest = batch.iter().map(|candidate| candidate.request.prompt).max().unwrap_or_default();
    let padded = |candidate: &Candidate<'_>| view.settings.pad(candidate.request.prompt, longest);
    let prompts = batch.iter().map(|candidate| (candidate.request.cached, padded(candidate)));
    let answers = batch
        .iter()
        .map(|candidate| (candidate.request.expected_output.0.saturating_sub(1), padded(candidate)));
    let precision = first.precision;
    (prefill(view, precision, prompts) + decodes(view, precision, answers.collect())).scaled(view.stretch())
}

/// Steps of prompts, each given by what is cached and its length: every step takes as much of them as it may.
fn prefill(
    view: &View<'_>,
    precision: PrecisionIndex,
    prompts: impl Iterator<Item = (Tokens, Tokens)>,
) -> Span {
    let chunk = view.node.prefill_chunk;
    let (mut time, mut step, mut left) = (Span::ZERO, StepLoad::default(), chunk);
    for (mut start, prompt) in prompts {
        while start < prompt {
            let tokens = left.min(prompt - start);
            step.prefill.push(ChunkLoad { tokens, start, prompt });
            (start, left) = (start + tokens, left - tokens);
            if left == Tokens::ZERO {
                time += view.step_time(precision, &std::mem::take(&mut step));
                left = chunk;
            }
        }
    }
    if step.prefill.is_empty() { time } else { time + view.step_time(precision, &step) }
}

/// Steps of answers, each given by its decodes and the cache it begins with: all of them together, until the
/// shortest ends, and so on.
fn decodes(view: &View<'_>, precision: PrecisionIndex, mut answers: Vec<(u32, Tokens)>) -> Span {
    answers.sort_unstable();
    let (mut time, mut done) = (Span::ZERO, 0);
    for first in 0..answers.len() {
        let steps = answers[first].0 - done;
        if steps == 0 {
            continue;
        }
        // Their caches grow meanwhile; the middle stands for all of these steps.
        let caches = answers[first..].iter().map(|&(_, prompt)| prompt + Tokens(done + steps / 2));
        let load = StepLoad {
            prefill: Vec::new(),
            decode_count: caches.len() as u32,
            decode_kv: caches.clone().map(|cache| u64::from(cache.0)).sum(),
            decode_longest: caches.max().unwrap_or_default(),
        };
        time += view.step_time(precision, &load) * steps;
        done += steps;
    }
    time
}
