//! One planning: from the node's state to who is served, in which order and at which precision.

use std::collections::{BTreeSet, VecDeque};

use super::instance::Limit;
use super::reduce::{self, Reduction};
use super::timeline::{self, Lane};
use super::view::View;
use super::{Answer, Budget, Policy, binding, solve};
use crate::engine::CostModel;
use crate::quantization::{self, PrecisionIndex};
use crate::request::{Request, RequestId};
use crate::settings::{Padding, Protocol};
use crate::time::{Instant, Span};
use crate::units::Tokens;

/// Whom to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Who is to be served, in the order they should start.
    pub accepted: VecDeque<RequestId>,
    /// The longest prompt among them, to which a batch may be padded.
    pub longest_prompt: Tokens,
    /// The precision they run at.
    pub precision: PrecisionIndex,
    /// How many requests take part in a step under this plan; more may run, and pause.
    pub batch_limit: u32,
    /// How the plan was found.
    pub report: PlanReport,
}

/// How a plan was found, for metrics and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanReport {
    /// When.
    pub at: Instant,
    /// Requests that waited.
    pub waiting: usize,
    /// Requests the plan serves.
    pub accepted: usize,
    /// Tree nodes visited.
    pub nodes: u64,
    /// Value of the plan's batch.
    pub value: u128,
    /// No batch of the plan's instance is worth more.
    pub bound: u128,
    /// The limit that kept most of the others out.
    pub binding: Option<Limit>,
    /// How long the node needs for all it has promised: when a request that was left out may hope again.
    pub retry_after: Span,
}

/// With prompts padded to the longest of the batch, so many lengths are tried as that longest.
const PADDED_LENGTHS_MAX: usize = 8;

/// Plans: the best batch over the resident precisions, over how many requests take part in a step in continuous
/// batching, and over the length that prompts are padded to. Of equal ones it takes the fastest precision, the
/// largest batch and the longest prompts.
pub fn choose(view: &View<'_>, node_limit: u64) -> Plan {
    let mut best: Option<(Plan, i128)> = None;
    let mut nodes = 0;
    let mut budget = Budget::nodes(node_limit);
    let lengths = padded_lengths(view);
    for precision in precisions(view) {
        'sizes: for batch in batch_sizes(view) {
            let mut bound = 0;
            for &longest in &lengths {
                let reduction = reduce::reduce(view, precision, batch, longest);
                let answer = answer(&reduction, view.settings.policy, &mut budget);
                nodes += answer.nodes;
                let (mut plan, late) = plan(view, precision, batch, &reduction, &answer);
                // What is shown of one length holds for its instance only.
                bound = plan.report.bound.max(bound);
                plan.report.bound = bound;
                let serves_all = plan.report.accepted == view.waiting.len() && late == 0;
                let worth = plan.report.value as i128 - late as i128;
                match &mut best {
                    Some((best, most)) if worth <= *most => {
                        if (best.precision, best.batch_limit) == (precision, batch) {
                            best.report.bound = bound;
                        }
                    }
                    _ => best = Some((plan, worth)),
                }
                if serves_all {
                    break 'sizes;
                }
            }
        }
    }
    let (mut plan, _) = best.expect("there is a precision, a batch size and a length");
    plan.report.nodes = nodes;
    plan
}

/// Makes a plan of an instance's answer.
fn plan(
    view: &View<'_>,
    precision: PrecisionIndex,
    batch_limit: u32,
    reduction: &Reduction<'_>,
    answer: &Answer,
) -> (Plan, u128) {
    let mut late = 0;
    let mut accepted: Vec<&Request> = answer.chosen.iter().map(|&index| reduction.members[index]).collect();
    if view.settings.policy.plans_for_all() {
        accepted.sort_by_key(|request| request.urgency());
        if view.settings.protocol == Protocol::Continuous {
            late = keep_what_can_be_promised(view, precision, batch_limit, &mut accepted);
        }
    }
    let plan = Plan {
        report: PlanReport {
            at: view.now,
            waiting: view.waiting.len(),
            accepted: accepted.len(),
            nodes: 0,
            value: accepted.iter().map(|request| u128::from(request.value)).sum(),
            bound: answer.bound,
            binding: binding(&reduction.instance, &answer.chosen),
            retry_after: reduce::time_to_drain(view, precision, batch_limit, &accepted),
        },
        longest_prompt: accepted.iter().map(|request| request.prompt).max().unwrap_or_default(),
        accepted: accepted.iter().map(|request| request.id).collect(),
        precision,
        batch_limit,
    };
    (plan, late)
}

/// A batch runs at one precision: while somebody runs it is theirs, otherwise any may be chosen.
fn precisions(view: &View<'_>) -> Vec<PrecisionIndex> {
    match view.running.first() {
        Some(running) => vec![running.precision],
        None => quantization::fastest_first(&view.node.precisions),
    }
}

/// Batch sizes to try, the largest first: all who could run at once, then half of that, and so on. A smaller
/// batch is slower in all but faster for each, and whoever has time pauses; where cost is additive it is the
/// same, so one size will do, and a policy that does not plan pauses nobody.
fn batch_sizes(view: &View<'_>) -> impl Iterator<Item = u32> {
    let running = view.running.len() as u32;
    let most = (running + view.waiting.len() as u32)
        .clamp(1, view.node.max_parallel.min(view.settings.policy.most_at_once()));
    let is_additive = matches!(view.node.cost, CostModel::Flops(_));
    let is_continuous = view.settings.protocol == Protocol::Continuous;
    let may_pause = is_continuous && view.settings.policy.plans_for_all();
    let least = match (is_additive, may_pause) {
        (true, _) => most,
        (false, true) => 1,
        (false, false) => running.clamp(1, most),
    };
    let halves =
        std::iter::successors(Some(most), |size| Some(size / 2)).take_while(move |&size| size > least);
    halves.chain([least])
}

/// Lengths that prompts may be padded to, the longest first. A batch without the longest prompts is padded to
/// less, so that it may hold more; a policy that does not plan takes them as they come.
fn padded_lengths(view: &View<'_>) -> Vec<Tokens> {
    let lengths: BTreeSet<Tokens> = view.waiting.iter().map(|request| request.prompt).collect();
    let lengths: Vec<Tokens> = lengths.into_iter().rev().collect();
    let is_choice = view.settings.padding == Padding::BatchMax && view.settings.policy.plans_for_all();
    let tried = if is_choice { lengths.len().clamp(1, PADDED_LENGTHS_MAX) } else { 1 };
    (0..tried).map(|index| lengths.get(index * lengths.len() / tried).copied().unwrap_or_default()).collect()
}

fn answer(reduction: &Reduction<'_>, policy: Policy, budget: &mut Budget<'_>) -> Answer {
    match solve(&reduction.instance, policy, budget) {
        Ok(answer) => answer,
        // Too many wait for brute force: the paper's search stands in, as it would be a pity to serve none.
        Err(super::SolveError::TooManyRequests { .. }) => {
            super::dftsp(&reduction.instance, budget, super::Rules::ALL)
        }
    }
}

/// Drops requests until the timeline meets every deadline that it can meet without them. Gives the value
/// of those who run and will be late.
///
/// For the first who would be late, the dearest of those planned before it goes, as Moore and Hodgson
/// have it, newcomers first; where nobody planned is before it, the dearest of all. Who runs and is late
/// even with nobody planned cannot be helped.
fn keep_what_can_be_promised(
    view: &View<'_>,
    precision: PrecisionIndex,
    batch_limit: u32,
    accepted: &mut Vec<&Request>,
) -> u128 {
    let mut is_late_anyway: Option<Vec<bool>> = None;
    loop {
        let lanes = timeline::play(view, precision, batch_limit, accepted);
        let is_late_anyway = match (&is_late_anyway, lanes.iter().any(Lane::is_late)) {
            (_, false) => return 0,
            (Some(known), true) => known,
            (None, true) => is_late_anyway.insert(late_with_nobody_planned(view, precision, batch_limit)),
        };
        let could_be_in_time = |index: usize, lane: &Lane| !lane.is_running || !is_late_anyway[index];
        let late =
            lanes.iter().enumerate().filter(|(index, lane)| lane.is_late() && could_be_in_time(*index, lane));
        let Some(first) = late.map(|(_, lane)| lane.urgency()).min() else {
            let late = view.running.iter().zip(is_late_anyway).filter(|(_, is_late)| **is_late);
            return late.map(|(running, _)| u128::from(running.request.value)).sum();
        };
        let before = accepted.iter().filter(|request| request.urgency() <= first).count();
        let suspects = if before > 0 { before } else { accepted.len() };
        let dearest = (0..suspects)
            .max_by_key(|&index| {
                let work =
                    reduce::work_in_batch(accepted[index], view.node, view.pace, precision, batch_limit);
                (!view.is_promised(accepted[index]), work)
            })
            .expect("there is a suspect");
        accepted.remove(dearest);
    }
}

fn late_with_nobody_planned(view: &View<'_>, precision: PrecisionIndex, batch_limit: u32) -> Vec<bool> {
    timeline::play(view, precision, batch_limit, &[]).iter().map(Lane::is_late).collect()
}
