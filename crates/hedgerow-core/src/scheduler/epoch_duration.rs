//! The duration of an epoch's batch: its prompts first, then its decodes in shared steps, by the forecast.
//!
//! An instance adds up each request's own compute time. Where decodes share steps, the sum is exact only for a batch
//! of the assumed size whose answers all have the same length. So a plan for an epoch is accepted only after this
//! check.

use super::forecast;
use super::reduce::{Candidate, Reduction};
use super::view::View;
use crate::model::time::Span;
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
    let batch: Vec<Candidate<'_>> = chosen.iter().map(|&index| reduction.members[index]).collect();
    forecast::duration(view, &batch)
}
