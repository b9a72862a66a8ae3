//! Reduction of the node's state to a solver instance: what each request needs, in integers.

use super::view::{self, View};
use crate::allocator;
use crate::model::node::Node;
use crate::model::request::Request;
use crate::model::settings::{Protocol, Settings};
use crate::model::time::Span;
use crate::model::units::Tokens;
use crate::quantization::{self, PrecisionIndex};
use crate::scheduler::calibration::StepTimeCalibration;
use hedgerow_solver::Policy;
use hedgerow_solver::{Capacity, Demand, Instance, Item, NUMBER_LIMIT, Timing};

/// An instance, with the request that each of its items stands for.
pub(super) struct Reduction<'a> {
    pub(super) instance: Instance,
    pub(super) members: Vec<Candidate<'a>>,
    pub(super) decode_batch: DecodeBatchSizes,
}

/// A waiting request as a plan would serve it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) request: &'a Request,
    pub(super) precision: PrecisionIndex,
    /// Its part of the node's compute time.
    pub(super) work: Span,
}

/// How many requests decode together at each precision: each precision takes steps of its own.
pub(super) struct DecodeBatchSizes {
    counts: Vec<u32>,
    batch: u32,
}

impl DecodeBatchSizes {
    fn new(view: &View<'_>, waiting: impl Iterator<Item = PrecisionIndex>, batch: u32) -> Self {
        let mut counts = vec![0; view.state.node.precisions.len()];
        let running = view.state.running.iter().map(|running| running.precision);
        running.chain(waiting).for_each(|precision| counts[precision.0] += 1);
        Self { counts, batch }
    }

    fn at(&self, precision: PrecisionIndex) -> u32 {
        self.counts[precision.0].clamp(1, self.batch)
    }
}

/// Compute time that a request still needs.
struct WorkLeft {
    prefill: Span,
    /// Its share of the decode steps that it runs in together with the rest of the batch.
    decode_share: Span,
    /// The whole length of these decode steps.
    decode_path: Span,
}

/// Tokens that a request has prefilled and has left.
struct TokensLeft {
    prompt: Tokens,
    prefilled: Tokens,
    decodes: u32,
}

impl TokensLeft {
    /// The tokens of a request that has not started, its prompt padded to `prompt`.
    fn of_waiting(request: &Request, prompt: Tokens) -> Self {
        Self { prompt, prefilled: request.cached, decodes: request.expected_output.0 - 1 }
    }
}

impl WorkLeft {
    /// The time that the rest of a prompt and then its decodes take in a batch of `batch`, at the engine's
    /// calibrated speed.
    fn new(
        node: &Node,
        calibration: &StepTimeCalibration,
        precision: PrecisionIndex,
        tokens: &TokensLeft,
        batch: u32,
    ) -> Self {
        let TokensLeft { prompt, prefilled, decodes } = *tokens;
        let factors = calibration.factors();
        let precision = &node.precisions[precision.0];
        let prefill = node.cost.prefill(&node.model, precision, prompt, prefilled, node.prefill_chunk);
        // The cache grows while it decodes; its size half-way stands for all steps.
        let kv = prompt + Tokens(decodes / 2);
        let step = node.cost.decode(&node.model, precision, batch, kv);
        let decode_path = (step * decodes).scaled(factors.decodes);
        let decode_share = Span(decode_path.0.div_ceil(u64::from(batch)));
        Self { prefill: prefill.scaled(factors.prompts), decode_share, decode_path }
    }

    fn compute(&self) -> Span {
        self.prefill + self.decode_share
    }
}

/// The time a request takes from its start to its delivery when it runs alone on the node, at one precision.
/// No schedule is faster, so a shorter deadline is infeasible.
pub fn time_alone(request: &Request, node: &Node, precision: PrecisionIndex) -> Span {
    let tokens = TokensLeft::of_waiting(request, request.prompt_len);
    let work = WorkLeft::new(node, &StepTimeCalibration::default(), precision, &tokens, 1);
    node.uplink_slot() + work.prefill + work.decode_path + node.downlink_slot()
}

/// The part of a compute slot that a plan counts for a request that is alone in its batch: with the padding that is
/// always applied to its prompt, and with the safety factor. Where that exceeds the slot, no plan of an epoch can
/// contain the request.
pub(crate) fn slot_needed(
    request: &Request,
    node: &Node,
    settings: &Settings,
    calibration: &StepTimeCalibration,
    precision: PrecisionIndex,
) -> Span {
    let tokens = TokensLeft::of_waiting(request, settings.pad(request.prompt_len, request.prompt_len));
    let work = WorkLeft::new(node, calibration, precision, &tokens, 1);
    let counted_us = micros_up(work.compute().scaled(view::safety_factor(settings, calibration)));
    Span::from_micros(counted_us) * settings.policy.traits().slowdown_alone
}

/// The precision of `among` at which a request takes the least of the node's time when `batch` requests decode
/// together, and that time; `None` where none suits it.
pub(crate) fn cheapest(
    request: &Request,
    node: &Node,
    calibration: &StepTimeCalibration,
    among: impl IntoIterator<Item = PrecisionIndex>,
    batch: u32,
) -> Option<(PrecisionIndex, Span)> {
    let tokens = TokensLeft::of_waiting(request, request.prompt_len);
    let suitable =
        among.into_iter().filter(|&precision| quantization::suits(&node.precisions, precision, request));
    suitable
        .map(|precision| (precision, WorkLeft::new(node, calibration, precision, &tokens, batch).compute()))
        .min_by_key(|&(_, work)| work)
}

/// The least of the node's time that a request takes: in a full batch, at its cheapest precision.
pub(crate) fn least_work(request: &Request, node: &Node, calibration: &StepTimeCalibration) -> Span {
    let all = (0..node.precisions.len()).map(PrecisionIndex);
    cheapest(request, node, calibration, all, node.max_parallel).map_or(Span::MAX, |(_, work)| work)
}

/// Builds the instance that asks which of the waiting requests to serve, each at the precision of `among` that takes
/// the least time, if `batch` requests run at once.
///
/// It leaves out requests that none of these precisions suits, requests that would be late even at that batch size,
/// and requests whose prompt is longer than `longest`, the longest of the batch.
pub(super) fn reduce<'a>(
    view: &View<'a>,
    among: &[PrecisionIndex],
    batch: u32,
    longest: Tokens,
) -> Reduction<'a> {
    let node = view.state.node;
    // Without batching no decode step is shared.
    let batch = if matches!(view.state.settings.policy, Policy::None { .. }) { 1 } else { batch };
    let fitting = view.waiting.iter().filter(|request| request.prompt_len <= longest);
    let suited = fitting.filter_map(|&request| {
        let precision = match *among {
            // The common case: one precision, nothing to compare.
            [only] => quantization::suits(&node.precisions, only, request).then_some(only)?,
            _ => cheapest(request, node, view.state.calibration, among.iter().copied(), batch)?.0,
        };
        Some((request, precision))
    });
    let suited: Vec<(&Request, PrecisionIndex)> = suited.collect();
    let decode_batch = DecodeBatchSizes::new(view, suited.iter().map(|&(_, precision)| precision), batch);
    let mut reduction = Reduction { instance: Instance::default(), members: Vec::new(), decode_batch };
    for (request, precision) in suited {
        // Prompts are padded to a length fixed beforehand, not to the longest that will be chosen: an instance must
        // not depend on its answer, and a batch of shorter prompts only needs less.
        let prompt = view.state.settings.pad(request.prompt_len, longest);
        let needs = allocator::needs(request, prompt, node);
        let tokens = TokensLeft::of_waiting(request, prompt);
        let work = WorkLeft::new(
            node,
            view.state.calibration,
            precision,
            &tokens,
            reduction.decode_batch.at(precision),
        );
        let on_the_air = node.uplink_slot() + node.downlink_slot();
        let load =
            view.load.filter(|&(loaded, _)| loaded == precision).map_or(Span::ZERO, |(_, takes)| takes);
        let slack = slack(view, view.slack_to_plan_with(request), on_the_air + load);
        let own_path = (work.prefill + work.decode_path).scaled(view.state.safety_factor());
        let is_continuous = matches!(view.state.settings.protocol, Protocol::Continuous);
        if is_continuous && slack.is_some_and(|slack| own_path > slack) {
            continue;
        }
        reduction.members.push(Candidate { request, precision, work: work.compute() });
        reduction.instance.items.push(Item {
            uplink: needs.uplink.0,
            downlink: needs.downlink.0,
            memory: needs.memory.0,
            compute_us: micros_up(work.compute().scaled(view.state.safety_factor())),
            slack_us: slack_us(slack),
            value: u64::from(request.value),
        });
    }
    (reduction.instance.capacity, reduction.instance.timing) = match view.state.settings.protocol {
        // The running requests will have ended when the batch starts, and the whole batch starts at once.
        Protocol::Epoch { compute_slot, .. } => {
            let free = view.state.ledger.free();
            let capacity = Capacity {
                uplink: free.uplink.0,
                downlink: free.downlink.0,
                memory: free.memory.0,
                compute_us: micros_down(compute_slot),
            };
            (capacity, Timing::Together)
        }
        // Memory and band are freed while requests wait, so they decide when a request starts, not whether it is
        // admitted; that its grant fits the whole node was checked at its arrival.
        Protocol::Continuous => {
            (UNLIMITED, Timing::ByDeadline { committed: committed(view, &reduction.decode_batch) })
        }
    };
    reduction
}

const UNLIMITED: Capacity = Capacity {
    uplink: NUMBER_LIMIT - 1,
    downlink: NUMBER_LIMIT - 1,
    memory: NUMBER_LIMIT - 1,
    compute_us: NUMBER_LIMIT - 1,
};

/// The work of the running requests, in order of deadline. Where a deadline cannot be met any more, its slack is
/// raised to the work due by then, so that the instance stays feasible: new requests are not the cause.
fn committed(view: &View<'_>, decode_batch: &DecodeBatchSizes) -> Vec<Demand> {
    let mut demands: Vec<Demand> = view
        .state
        .running
        .iter()
        .map(|running| {
            let tokens = TokensLeft {
                prompt: running.padded_len,
                prefilled: running.prefilled,
                decodes: running.decodes_left(),
            };
            let batch = decode_batch.at(running.precision);
            let work =
                WorkLeft::new(view.state.node, view.state.calibration, running.precision, &tokens, batch);
            let compute = work.compute().scaled(view.state.safety_factor());
            Demand {
                slack_us: slack_us(slack(
                    view,
                    running.request.slack(view.state.now),
                    view.state.node.downlink_slot(),
                )),
                compute_us: micros_up(compute),
            }
        })
        .collect();
    demands.sort_unstable();
    let mut work_us = 0;
    for demand in &mut demands {
        work_us += demand.compute_us;
        demand.slack_us = demand.slack_us.max(work_us);
    }
    demands
}

/// Time until a request's last token must be ready, if `on_the_air` is still to be spent on transmission; `None`
/// without a deadline.
fn slack(view: &View<'_>, left: Option<Span>, on_the_air: Span) -> Option<Span> {
    let left = left.filter(|_| !view.state.settings.policy.traits().is_blind_to_deadlines)?;
    Some(left.saturating_sub(on_the_air))
}

/// An instance has no items without a deadline: the largest number stands for none.
fn slack_us(slack: Option<Span>) -> u64 {
    slack.map_or(NUMBER_LIMIT - 1, micros_down)
}

/// Needs are rounded up and slacks down, so that what fits in integers fits in time.
fn micros_up(span: Span) -> u64 {
    span.as_micros_ceil().min(NUMBER_LIMIT - 1)
}

fn micros_down(span: Span) -> u64 {
    span.as_micros_floor().min(NUMBER_LIMIT - 1)
}

/// How long the node needs for the running requests and for `planned`: the suggested retry time.
pub(super) fn time_to_drain(
    view: &View<'_>,
    decode_batch: &DecodeBatchSizes,
    planned: &[Candidate<'_>],
) -> Span {
    let running_us = committed(view, decode_batch).iter().map(|demand| demand.compute_us).sum();
    Span::from_micros(running_us) + planned.iter().map(|candidate| candidate.work).sum()
}
