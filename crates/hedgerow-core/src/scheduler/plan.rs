//! One planning: from the node's state to who is served, in which order and at which precision.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use super::epoch_duration;
use super::forecast::{self, SequenceForecast};
use super::reduce::{self, Candidate, Reduction};
use super::view::View;
use crate::quantization::{self, PrecisionIndex, PrecisionLoad};
use crate::request::RequestId;
use crate::settings::{Padding, Protocol};
use crate::time::{Instant, Span};
use crate::units::Tokens;
use hedgerow_solver::Limit;
use hedgerow_solver::{Answer, Budget, Policy, binding, solve};

/// Whom to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Who is to be served, in the order they should start.
    pub accepted: VecDeque<Planned>,
    /// The longest prompt among them, to which a batch may be padded.
    pub longest_prompt: Tokens,
    /// How many requests take part in a step under this plan; more may run, and pause.
    pub batch_limit: u32,
    /// What is to be loaded as soon as whoever needs it is the most urgent.
    pub load: Option<PrecisionLoad>,
    /// How the plan was found.
    pub report: PlanReport,
}

/// A request that a plan serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub id: RequestId,
    /// The precision it is to run at.
    pub precision: PrecisionIndex,
}

impl Plan {
    /// Whether a request is to be served.
    pub fn accepts(&self, id: RequestId) -> bool {
        self.precision_of(id).is_some()
    }

    /// The precision at which a request is to be served, if it is.
    pub fn precision_of(&self, id: RequestId) -> Option<PrecisionIndex> {
        self.accepted.iter().find(|planned| planned.id == id).map(|planned| planned.precision)
    }
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

/// Plans: the best batch over the precisions to use, over how many requests take part in a step in continuous
/// batching, and over the length that prompts are padded to. Of equal ones it takes the one with the least work,
/// then the fastest precision, the largest batch and the longest prompts. Something is loaded only where that is
/// worth more than what is in memory.
pub fn choose(view: &View<'_>, loads: &[PrecisionLoad], node_limit: u64) -> Plan {
    let held_after = |load: &PrecisionLoad| {
        let stays = |index: &PrecisionIndex| !load.unload.contains(index);
        view.held.iter().copied().filter(stays).chain([load.precision]).collect()
    };
    let loads: Vec<(&PrecisionLoad, Vec<PrecisionIndex>)> =
        loads.iter().filter(|_| view.mixes_precisions()).map(|load| (load, held_after(load))).collect();
    let mut budget = Budget::nodes(node_limit);
    let mut nodes = 0;
    let mut best = propose(view, &mut budget, &mut nodes);
    let mut to_load = None;
    for (load, held) in &loads {
        if best.accepted.len() == view.waiting.len() {
            break;
        }
        let loaded = View { held, load: Some((load.precision, load.takes)), ..*view };
        let other = propose(&loaded, &mut budget, &mut nodes);
        if other.worth() > best.worth() {
            (best, to_load) = (other, Some((*load).clone()));
        }
    }
    best.into_plan(view, nodes, to_load)
}

/// The best answer with what the view holds.
fn propose<'a>(view: &View<'a>, budget: &mut Budget<'_>, nodes: &mut u64) -> Proposal<'a> {
    let mut best: Option<Proposal<'_>> = None;
    let lengths = padded_lengths(view);
    for among in precisions(view) {
        let mut best_of_these: Option<Proposal<'_>> = None;
        for batch in batch_sizes(view) {
            let to_beat = best_of_these.as_ref().map(Proposal::worth);
            let proposal = best_of_lengths(view, &among, batch, &lengths, to_beat, budget, nodes);
            let serves_all = proposal.serves_all(view);
            if best_of_these.as_ref().is_none_or(|best| proposal.worth() > best.worth()) {
                best_of_these = Some(proposal);
            }
            if serves_all {
                break;
            }
        }
        let rank = |proposal: &Proposal<'_>| (proposal.worth(), Reverse(proposal.time_to_drain(view)));
        best = match (best, best_of_these) {
            (Some(best), Some(other)) if rank(&best) >= rank(&other) => Some(best),
            (best, other) => other.or(best),
        };
    }
    best.expect("there is a precision and a batch size")
}

/// The best answer over the lengths that prompts may be padded to. What is shown of one length holds for its
/// instance only, so the bound is that of all.
fn best_of_lengths<'a>(
    view: &View<'a>,
    among: &[PrecisionIndex],
    batch: u32,
    lengths: &[Tokens],
    to_beat: Option<i128>,
    budget: &mut Budget<'_>,
    nodes: &mut u64,
) -> Proposal<'a> {
    let mut best: Option<Proposal<'_>> = None;
    let mut bound = 0;
    for &longest in lengths {
        let reduction = reduce::reduce(view, among, batch, longest);
        let answer = answer(&reduction, view.settings.policy, budget);
        *nodes += answer.nodes;
        bound = bound.max(answer.bound);
        let to_beat = to_beat.max(best.as_ref().map(Proposal::worth));
        let proposal = Proposal::new(view, batch, reduction, answer, to_beat);
        let serves_all = proposal.serves_all(view);
        if best.as_ref().is_none_or(|best| proposal.worth() > best.worth()) {
            best = Some(proposal);
        }
        if serves_all {
            break;
        }
    }
    let mut best = best.expect("there is a length");
    best.answer.bound = bound;
    best
}

/// The answer for one choice of precisions and batch size: what is needed to compare it, and to make a plan of it.
struct Proposal<'a> {
    batch_limit: u32,
    reduction: Reduction<'a>,
    answer: Answer,
    accepted: Vec<Candidate<'a>>,
    value: u128,
    /// Value of those who run and will be late.
    late: u128,
    /// The limit of an epoch that the answer would have broken.
    overrun: Option<Limit>,
}

impl<'a> Proposal<'a> {
    /// As far as it may be worth more than `to_beat`: else nobody asks whether it could be promised.
    fn new(
        view: &View<'a>,
        batch: u32,
        reduction: Reduction<'a>,
        mut answer: Answer,
        to_beat: Option<i128>,
    ) -> Self {
        let mut late = 0;
        let mut overrun = None;
        let mut batch_limit = batch;
        if matches!(view.settings.protocol, Protocol::Epoch { .. }) {
            // Who is in it runs; nobody pauses.
            batch_limit = view.node.max_parallel;
            // Without batching nobody shares a step.
            let shares_steps = !matches!(view.settings.policy, Policy::None { .. });
            if shares_steps && !view.node.cost.is_additive() {
                overrun = epoch_duration::keep_what_fits(view, &reduction, &mut answer.chosen);
            }
        }
        let mut accepted: Vec<Candidate<'_>> =
            answer.chosen.iter().map(|&index| reduction.members[index]).collect();
        if view.settings.policy.plans_for_all() {
            accepted.sort_by_key(|candidate| candidate.request.urgency());
            if view.settings.protocol == Protocol::Continuous {
                late = keep_what_can_be_promised(view, batch_limit, &mut accepted, to_beat);
            }
        }
        let value = value_of(&accepted);
        Self { batch_limit, reduction, answer, accepted, value, late, overrun }
    }

    fn serves_all(&self, view: &View<'_>) -> bool {
        self.accepted.len() == view.waiting.len() && self.late == 0
    }

    fn worth(&self) -> i128 {
        self.value as i128 - self.late as i128
    }

    fn time_to_drain(&self, view: &View<'_>) -> Span {
        reduce::time_to_drain(view, &self.reduction.decode_batch, &self.accepted)
    }

    fn into_plan(self, view: &View<'_>, nodes: u64, load: Option<PrecisionLoad>) -> Plan {
        let retry_after = self.time_to_drain(view);
        let Self { batch_limit, reduction, answer, accepted, value, overrun, .. } = self;
        let planned =
            |candidate: &Candidate<'_>| Planned { id: candidate.request.id, precision: candidate.precision };
        Plan {
            report: PlanReport {
                at: view.now,
                waiting: view.waiting.len(),
                accepted: accepted.len(),
                nodes,
                value,
                bound: answer.bound,
                binding: overrun.or_else(|| binding(&reduction.instance, &answer.chosen)),
                retry_after,
            },
            longest_prompt: accepted
                .iter()
                .map(|candidate| candidate.request.prompt)
                .max()
                .unwrap_or_default(),
            accepted: accepted.iter().map(planned).collect(),
            batch_limit,
            load,
        }
    }
}

/// With so many waiting or more precisions than this, only all precisions together are tried: planning must not
/// take longer than a step.
const FEW_WAITING: usize = 32;
const FEW_PRECISIONS: usize = 3;

/// The sets of precisions to try. Where requests of different precisions may run together, each set is one way
/// to trade steps that more share against steps that are faster: all of them, and as long as there are few,
/// each choice of some. Else a batch runs at one precision: while somebody runs it is theirs, otherwise any.
fn precisions(view: &View<'_>) -> Vec<Vec<PrecisionIndex>> {
    let fastest_first = || {
        let mut order = quantization::fastest_first(&view.node.precisions);
        order.retain(|index| view.held.contains(index));
        order
    };
    if !view.mixes_precisions() {
        return match view.running.first() {
            Some(running) => vec![vec![running.precision]],
            None => fastest_first().into_iter().map(|precision| vec![precision]).collect(),
        };
    }
    let all = fastest_first();
    if all.is_empty()
        || view.waiting.is_empty()
        || view.waiting.len() > FEW_WAITING
        || all.len() > FEW_PRECISIONS
    {
        return vec![all];
    }
    let some = |set: u32| {
        let is_in = |&(index, _): &(usize, &PrecisionIndex)| set & 1 << index != 0;
        all.iter().enumerate().filter(is_in).map(|(_, &precision)| precision).collect()
    };
    (1..1_u32 << all.len()).rev().map(some).collect()
}

/// Batch sizes to try, the largest first: all who could run at once, then half of that, and so on. A smaller
/// batch is slower in all but faster for each, and whoever has time pauses; where cost is additive it is the
/// same, so one size will do, and a policy that does not plan pauses nobody.
fn batch_sizes(view: &View<'_>) -> impl Iterator<Item = u32> {
    let running = view.running.len() as u32;
    let most = (running + view.waiting.len() as u32)
        .clamp(1, view.node.max_parallel.min(view.settings.policy.most_at_once()));
    let is_additive = view.node.cost.is_additive();
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
    let prompts = view.waiting.iter().map(|request| request.prompt);
    let is_choice = view.settings.padding == Padding::BatchMax && view.settings.policy.plans_for_all();
    if !is_choice || view.waiting.is_empty() {
        return vec![prompts.max().unwrap_or_default()];
    }
    let lengths: Vec<Tokens> = prompts.collect::<BTreeSet<_>>().into_iter().rev().collect();
    let tried = lengths.len().min(PADDED_LENGTHS_MAX);
    (0..tried).map(|index| lengths[index * lengths.len() / tried]).collect()
}

fn answer(reduction: &Reduction<'_>, policy: Policy, budget: &mut Budget<'_>) -> Answer {
    match solve(&reduction.instance, policy, budget) {
        Ok(answer) => answer,
        // Too many wait for brute force: the paper's search stands in, as it would be a pity to serve none.
        Err(hedgerow_solver::SolveError::TooManyRequests { .. }) => {
            hedgerow_solver::dftsp(&reduction.instance, budget, hedgerow_solver::Rules::ALL)
        }
    }
}

fn value_of(accepted: &[Candidate<'_>]) -> u128 {
    accepted.iter().map(|candidate| u128::from(candidate.request.value)).sum()
}

/// Drops requests until the timeline meets every deadline that it can meet without them, or the rest is worth no more
/// than `to_beat`. Gives the value of those who run and will be late.
///
/// For the first who would be late, the dearest of those planned before it goes, as Moore and Hodgson
/// have it, newcomers first; where nobody planned is before it, the dearest of all. Who runs and is late
/// even with nobody planned cannot be helped.
fn keep_what_can_be_promised(
    view: &View<'_>,
    batch_limit: u32,
    accepted: &mut Vec<Candidate<'_>>,
    to_beat: Option<i128>,
) -> u128 {
    let mut is_late_anyway: Option<Vec<bool>> = None;
    loop {
        if to_beat.is_some_and(|worth| value_of(accepted) as i128 <= worth) {
            return 0;
        }
        let forecasts = forecast::play(view, batch_limit, accepted);
        if !forecasts.iter().any(SequenceForecast::is_late) {
            return 0;
        }
        if forecasts.iter().any(|forecast| forecast.is_running && forecast.is_late()) {
            is_late_anyway.get_or_insert_with(|| late_with_nobody_planned(view, batch_limit));
        }
        let cannot_be_helped =
            |index: usize| is_late_anyway.as_ref().is_some_and(|known| known.get(index) == Some(&true));
        let late = forecasts
            .iter()
            .enumerate()
            .filter(|(index, forecast)| forecast.is_late() && !cannot_be_helped(*index));
        let Some(first) = late.map(|(_, forecast)| forecast.urgency()).min() else {
            let late = view.running.iter().enumerate().filter(|(index, _)| cannot_be_helped(*index));
            return late.map(|(_, running)| u128::from(running.request.value)).sum();
        };
        let before = accepted.iter().filter(|candidate| candidate.request.urgency() <= first).count();
        let suspects = if before > 0 { before } else { accepted.len() };
        let dearest = (0..suspects)
            .max_by_key(|&index| (!view.is_promised(accepted[index].request), accepted[index].work))
            .expect("there is a suspect");
        accepted.remove(dearest);
    }
}

fn late_with_nobody_planned(view: &View<'_>, batch_limit: u32) -> Vec<bool> {
    forecast::play(view, batch_limit, &[]).iter().map(SequenceForecast::is_late).collect()
}
