//! Planning: decides from the node's state which requests to serve, in which order and at which precision.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use super::epoch_duration;
use super::forecast::{self, SequenceForecast};
use super::reduce::{self, Candidate, Reduction};
use super::view::View;
use crate::model::request::RequestId;
use crate::model::settings::{Padding, Protocol};
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::quantization::{self, PrecisionIndex, PrecisionLoad};
use hedgerow_solver::Limit;
use hedgerow_solver::{Answer, Budget, Policy, binding, solve};

/// Which requests to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Requests to serve, in the order in which they should start.
    pub accepted: VecDeque<Planned>,
    /// The longest prompt among them, to which a batch may be padded.
    pub longest_prompt: Tokens,
    /// How many requests take part in a step under this plan; further running requests pause.
    pub batch_limit: u32,
    /// The precision to load as soon as a request that needs it is the most urgent.
    pub load: Option<PrecisionLoad>,
    /// How the plan was found.
    pub report: PlanReport,
}

/// A request that a plan serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its id.
    pub id: RequestId,
    /// The precision that it is to run at.
    pub precision: PrecisionIndex,
}

impl Plan {
    /// Whether the plan serves a request.
    pub fn accepts(&self, id: RequestId) -> bool {
        self.precision_of(id).is_some()
    }

    /// The precision at which the plan serves a request; `None` if it does not.
    pub fn precision_of(&self, id: RequestId) -> Option<PrecisionIndex> {
        self.accepted.iter().find(|planned| planned.id == id).map(|planned| planned.precision)
    }
}

/// How a plan was found, for metrics and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanReport {
    /// When the plan was made.
    pub at: Instant,
    /// Requests that waited.
    pub waiting: usize,
    /// Requests the plan serves.
    pub accepted: usize,
    /// Tree nodes visited.
    pub nodes: u64,
    /// Value of the plan's batch.
    pub value: u128,
    /// Upper bound on the value of any batch of the plan's instance.
    pub bound: u128,
    /// The limit that kept most of the others out.
    pub binding: Option<Limit>,
    /// How long the node needs for all admitted requests: the suggested retry time of a rejected one.
    pub retry_after: Span,
}

/// How many padded lengths are tried, where prompts are padded to the longest of the batch.
const PADDED_LENGTHS_MAX: usize = 8;

/// Makes a plan: the batch with the highest value over the sets of precisions to use, the batch sizes of a step (in
/// continuous batching) and the lengths that prompts are padded to. Ties go to the least work, then the fastest
/// precision, the largest batch and the longest prompts. A precision is loaded only where that raises the value.
pub fn choose(view: &View<'_>, loads: &[PrecisionLoad], node_limit: u64) -> Plan {
    let held_after = |load: &PrecisionLoad| {
        let stays = |index: &PrecisionIndex| !load.unload.contains(index);
        view.held.iter().copied().filter(stays).chain([load.precision]).collect()
    };
    let loads: Vec<(&PrecisionLoad, Vec<PrecisionIndex>)> =
        loads.iter().filter(|_| view.state.mixes_precisions()).map(|load| (load, held_after(load))).collect();
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
        if other.net_value() > best.net_value() {
            (best, to_load) = (other, Some((*load).clone()));
        }
    }
    best.into_plan(view, nodes, to_load)
}

/// The best proposal with the precisions that the view holds.
fn propose<'a>(view: &View<'a>, budget: &mut Budget<'_>, nodes: &mut u64) -> Proposal<'a> {
    let mut best: Option<Proposal<'_>> = None;
    let lengths = padded_lengths(view);
    for among in precisions(view) {
        let mut best_of_these: Option<Proposal<'_>> = None;
        for batch in batch_sizes(view) {
            let incumbent = best_of_these.as_ref().map(Proposal::net_value);
            let proposal = best_of_lengths(view, &among, batch, &lengths, incumbent, budget, nodes);
            let serves_all = proposal.serves_all(view);
            if best_of_these.as_ref().is_none_or(|best| proposal.net_value() > best.net_value()) {
                best_of_these = Some(proposal);
            }
            if serves_all {
                break;
            }
        }
        let rank = |proposal: &Proposal<'_>| (proposal.net_value(), Reverse(proposal.time_to_drain(view)));
        best = match (best, best_of_these) {
            (Some(best), Some(other)) if rank(&best) >= rank(&other) => Some(best),
            (best, other) => other.or(best),
        };
    }
    best.expect("there is a precision and a batch size")
}

/// The best proposal over the lengths that prompts may be padded to. A bound holds for the instance of one length
/// only, so the result's bound is the largest.
fn best_of_lengths<'a>(
    view: &View<'a>,
    among: &[PrecisionIndex],
    batch: u32,
    lengths: &[Tokens],
    incumbent: Option<i128>,
    budget: &mut Budget<'_>,
    nodes: &mut u64,
) -> Proposal<'a> {
    let mut best: Option<Proposal<'_>> = None;
    let mut bound = 0;
    for &longest in lengths {
        let reduction = reduce::reduce(view, among, batch, longest);
        let answer = answer(&reduction, view.state.settings.policy, budget);
        *nodes += answer.nodes;
        bound = bound.max(answer.bound);
        let incumbent = incumbent.max(best.as_ref().map(Proposal::net_value));
        let proposal = Proposal::new(view, batch, reduction, answer, incumbent);
        let serves_all = proposal.serves_all(view);
        if best.as_ref().is_none_or(|best| proposal.net_value() > best.net_value()) {
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

/// The answer for one choice of precisions and batch size, with what it takes to compare it and to make it a plan.
struct Proposal<'a> {
    batch_limit: u32,
    reduction: Reduction<'a>,
    answer: Answer,
    accepted: Vec<Candidate<'a>>,
    value: u128,
    /// Value of the running requests that will be late.
    late: u128,
    /// The limit of an epoch that the answer exceeded before requests were dropped from it.
    overrun: Option<Limit>,
}

impl<'a> Proposal<'a> {
    /// Makes a proposal of an answer. Once its value cannot exceed `incumbent`, its feasibility is not checked
    /// further.
    fn new(
        view: &View<'a>,
        batch: u32,
        reduction: Reduction<'a>,
        mut answer: Answer,
        incumbent: Option<i128>,
    ) -> Self {
        let mut late = 0;
        let mut overrun = None;
        let mut batch_limit = batch;
        if matches!(view.state.settings.protocol, Protocol::Epoch { .. }) {
            // All requests of an epoch's batch run; none pauses.
            batch_limit = view.state.node.max_parallel;
            // Without batching no step is shared.
            let shares_steps = !matches!(view.state.settings.policy, Policy::None { .. });
            if shares_steps && !view.state.node.cost.is_additive() {
                overrun = epoch_duration::drop_until_fits(view, &reduction, &mut answer.chosen);
            }
        }
        let mut accepted: Vec<Candidate<'_>> =
            answer.chosen.iter().map(|&index| reduction.members[index]).collect();
        if view.state.settings.policy.traits().plans_for_all {
            accepted.sort_by_key(|candidate| candidate.request.urgency());
            if view.state.settings.protocol == Protocol::Continuous {
                late = drop_until_feasible(view, batch_limit, &mut accepted, incumbent);
            }
        }
        let value = value_of(&accepted);
        Self { batch_limit, reduction, answer, accepted, value, late, overrun }
    }

    fn serves_all(&self, view: &View<'_>) -> bool {
        self.accepted.len() == view.waiting.len() && self.late == 0
    }

    fn net_value(&self) -> i128 {
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
                at: view.state.now,
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
                .map(|candidate| candidate.request.prompt_len)
                .max()
                .unwrap_or_default(),
            accepted: accepted.iter().map(planned).collect(),
            batch_limit,
            load,
        }
    }
}

/// With more waiting requests or more precisions than these, only the set of all precisions is tried: planning must
/// not take longer than a step.
const FEW_WAITING: usize = 32;
const FEW_PRECISIONS: usize = 3;

/// The sets of precisions to try. Where running requests may have different precisions, a smaller set means steps
/// shared by more requests, and a larger set means faster precisions: the set of all is tried, and as long as there
/// are few precisions, each subset. Elsewhere a batch has one precision: that of the running requests, or any if
/// none runs.
fn precisions(view: &View<'_>) -> Vec<Vec<PrecisionIndex>> {
    let fastest_first = || {
        let mut order = quantization::fastest_first(&view.state.node.precisions);
        order.retain(|index| view.held.contains(index));
        order
    };
    if !view.state.mixes_precisions() {
        return match view.state.running.first() {
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

/// Batch sizes to try, the largest first: as many requests as can run at once, then half of that, and so on. A
/// smaller batch has less throughput but a lower TPOT, and requests with slack pause. One size suffices where cost
/// is additive, because then batch size makes no difference; a policy that does not plan never pauses requests.
fn batch_sizes(view: &View<'_>) -> impl Iterator<Item = u32> {
    let running = view.state.running.len() as u32;
    let most = (running + view.waiting.len() as u32)
        .clamp(1, view.state.node.max_parallel.min(view.state.settings.policy.traits().most_at_once));
    let is_additive = view.state.node.cost.is_additive();
    let is_continuous = view.state.settings.protocol == Protocol::Continuous;
    let may_pause = is_continuous && view.state.settings.policy.traits().plans_for_all;
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
/// less, so that more requests may fit; a policy that does not plan takes requests in order of arrival.
fn padded_lengths(view: &View<'_>) -> Vec<Tokens> {
    let prompts = view.waiting.iter().map(|request| request.prompt_len);
    let is_choice =
        view.state.settings.padding == Padding::BatchMax && view.state.settings.policy.traits().plans_for_all;
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
        // Too many requests wait for brute force: fall back to the paper's search, rather than serve none.
        Err(hedgerow_solver::SolveError::TooManyRequests { .. }) => {
            hedgerow_solver::dftsp(&reduction.instance, budget, hedgerow_solver::Rules::ALL)
        }
    }
}

fn value_of(accepted: &[Candidate<'_>]) -> u128 {
    accepted.iter().map(|candidate| u128::from(candidate.request.value)).sum()
}

/// Drops requests until the forecast meets every deadline that it can meet without them, or until the value left is
/// no more than `incumbent`. Returns the value of the running requests that will be late.
///
/// Moore-Hodgson: for the most urgent late request, it removes the longest job among the planned requests due no
/// later, not yet admitted ones first; where no planned request is due no later, the longest job of all. A running
/// request that is late even with no request planned is not counted as a reason to drop any.
fn drop_until_feasible(
    view: &View<'_>,
    batch_limit: u32,
    accepted: &mut Vec<Candidate<'_>>,
    incumbent: Option<i128>,
) -> u128 {
    let mut late_unplanned: Option<Vec<bool>> = None;
    loop {
        if incumbent.is_some_and(|best| value_of(accepted) as i128 <= best) {
            return 0;
        }
        let forecasts = forecast::play(view, batch_limit, accepted);
        if !forecasts.iter().any(SequenceForecast::is_late) {
            return 0;
        }
        if forecasts.iter().any(|forecast| forecast.is_running && forecast.is_late()) {
            late_unplanned.get_or_insert_with(|| late_without_planned(view, batch_limit));
        }
        let is_unavoidable =
            |index: usize| late_unplanned.as_ref().is_some_and(|known| known.get(index) == Some(&true));
        let late = forecasts
            .iter()
            .enumerate()
            .filter(|(index, forecast)| forecast.is_late() && !is_unavoidable(*index));
        let Some(first) = late.map(|(_, forecast)| forecast.urgency()).min() else {
            let late = view.state.running.iter().enumerate().filter(|(index, _)| is_unavoidable(*index));
            return late.map(|(_, running)| u128::from(running.request.value)).sum();
        };
        let before = accepted.iter().filter(|candidate| candidate.request.urgency() <= first).count();
        let due_no_later = if before > 0 { before } else { accepted.len() };
        let longest_job = (0..due_no_later)
            .max_by_key(|&index| (!view.is_admitted(accepted[index].request), accepted[index].work))
            .expect("a planned request makes it late");
        accepted.remove(longest_job);
    }
}

fn late_without_planned(view: &View<'_>, batch_limit: u32) -> Vec<bool> {
    forecast::play(view, batch_limit, &[]).iter().map(SequenceForecast::is_late).collect()
}
