//! From the node's state to an instance: what each request needs, in the solvers' integers.

use super::Policy;
use super::instance::{Capacity, Demand, Instance, Item, NUMBER_LIMIT, Timing};
use super::view::View;
use crate::allocator;
use crate::node::Node;
use crate::pace::Pace;
use crate::quantization::PrecisionIndex;
use crate::request::Request;
use crate::settings::Protocol;
use crate::time::Span;
use crate::units::Tokens;

/// An instance and the requests its items stand for.
pub(super) struct Reduction<'a> {
    pub(super) instance: Instance,
    pub(super) members: Vec<&'a Request>,
}

/// Compute that a request still needs.
struct WorkLeft {
    prefill: Span,
    /// Its decodes, each in a step that it shares with the rest of the batch: its part of them.
    decode_share: Span,
    /// Its decodes, each as long as the step it is in.
    decode_path: Span,
}

/// Tokens that a request has behind and before it.
struct TokensLeft {
    prompt: Tokens,
    prefilled: Tokens,
    decodes: u32,
}

impl TokensLeft {
    /// Of a request that has not started, its prompt padded to `prompt`.
    fn of_waiting(request: &Request, prompt: Tokens) -> Self {
        Self { prompt, prefilled: request.cached, decodes: request.expected_output.0 - 1 }
    }
}

impl WorkLeft {
    /// What the rest of a prompt and then its decodes take in a batch of `batch`, if the engine keeps up as
    /// `pace` says.
    fn new(node: &Node, pace: &Pace, precision: PrecisionIndex, tokens: &TokensLeft, batch: u32) -> Self {
        let TokensLeft { prompt, prefilled, decodes } = *tokens;
        let (prompts_factor, decodes_factor) = pace.factors();
        let precision = &node.precisions[precision.0];
        let prefill = node.cost.prefill(&node.model, precision, prompt, prefilled, node.prefill_chunk);
        // The cache grows as it decodes; its middle stands for all steps.
        let kv = prompt + Tokens(decodes / 2);
        let step = node.cost.decode(&node.model, precision, batch, kv);
        let decode_path = (step * decodes).scaled(decodes_factor);
        let decode_share = Span(decode_path.0.div_ceil(u64::from(batch)));
        Self { prefill: prefill.scaled(prompts_factor), decode_share, decode_path }
    }

    fn compute(&self) -> Span {
        self.prefill + self.decode_share
    }
}

/// The time a request takes from its choice to its delivery when it has the whole node to itself, at
/// one precision. Nobody can be served faster, so a deadline below it is infeasible.
pub fn time_alone(request: &Request, node: &Node, precision: PrecisionIndex) -> Span {
    let tokens = TokensLeft::of_waiting(request, request.prompt);
    let work = WorkLeft::new(node, &Pace::default(), precision, &tokens, 1);
    node.uplink_slot() + work.prefill + work.decode_path + node.downlink_slot()
}

/// A request's part of the node's compute time when `batch` requests decode together.
pub(crate) fn work_in_batch(
    request: &Request,
    node: &Node,
    pace: &Pace,
    precision: PrecisionIndex,
    batch: u32,
) -> Span {
    let tokens = TokensLeft::of_waiting(request, request.prompt);
    WorkLeft::new(node, pace, precision, &tokens, batch).compute()
}

/// Asks which of the waiting requests to serve at a precision, if `batch` requests run at once and the longest
/// prompt of the batch is `longest`.
///
/// Left out are requests that want a better precision, those too late even for that batch size, and longer
/// prompts.
pub(super) fn reduce<'a>(
    view: &View<'a>,
    precision: PrecisionIndex,
    batch: u32,
    longest: Tokens,
) -> Reduction<'a> {
    let node = view.node;
    // Without batching nobody shares a decode.
    let batch = if matches!(view.settings.policy, Policy::None { .. }) { 1 } else { batch };
    let mut reduction = Reduction { instance: Instance::default(), members: Vec::new() };
    for &request in view.waiting {
        if request.min_quality > node.precisions[precision.0].quality || request.prompt > longest {
            continue;
        }
        // Padding to a length that is set before, not to the longest that will be chosen: the instance's
        // needs must not depend on its answer, and a shorter batch only needs less.
        let prompt = view.settings.pad(request.prompt, longest);
        let needs = allocator::needs(request, prompt, node);
        let work = WorkLeft::new(node, view.pace, precision, &TokensLeft::of_waiting(request, prompt), batch);
        let on_the_air = node.uplink_slot() + node.downlink_slot();
        let slack = slack(view, view.slack_to_plan_with(request), on_the_air);
        let own_path = (work.prefill + work.decode_path).scaled(view.stretch());
        let is_continuous = matches!(view.settings.protocol, Protocol::Continuous);
        if is_continuous && own_path > slack {
            continue;
        }
        reduction.members.push(request);
        reduction.instance.items.push(Item {
            uplink: needs.uplink.0,
            downlink: needs.downlink.0,
            memory: needs.memory.0,
            compute_us: micros_up(work.compute().scaled(view.stretch())),
            slack_us: micros_down(slack),
            value: u64::from(request.value),
        });
    }
    (reduction.instance.capacity, reduction.instance.timing) = match view.settings.protocol {
        // What runs now will have ended when the batch starts, and the batch starts together.
        Protocol::Epoch { compute_slot, .. } => {
            let free = view.ledger.free();
            let capacity = Capacity {
                uplink: free.uplink.0,
                downlink: free.downlink.0,
                memory: free.memory.0,
                compute_us: micros_down(compute_slot),
            };
            (capacity, Timing::Together)
        }
        // Memory and band come back while requests wait, so they decide when a request starts, not
        // whether it is promised; that it could hold its grant at all was checked at its arrival.
        Protocol::Continuous => (UNLIMITED, Timing::ByDeadline { committed: committed(view, batch) }),
    };
    reduction
}

const UNLIMITED: Capacity = Capacity {
    uplink: NUMBER_LIMIT - 1,
    downlink: NUMBER_LIMIT - 1,
    memory: NUMBER_LIMIT - 1,
    compute_us: NUMBER_LIMIT - 1,
};

/// The work of those who run, by deadline. Where it is late already, its slack is set to what it takes:
/// a new request cannot be blamed for that.
fn committed(view: &View<'_>, batch: u32) -> Vec<Demand> {
    let mut demands: Vec<Demand> = view
        .running
        .iter()
        .map(|running| {
            let tokens = TokensLeft {
                prompt: running.prompt,
                prefilled: running.prefilled,
                decodes: running.decodes_left(),
            };
            let work = WorkLeft::new(view.node, view.pace, running.precision, &tokens, batch);
            let compute = work.compute().scaled(view.stretch());
            Demand {
                slack_us: micros_down(slack(
                    view,
                    running.request.slack(view.now),
                    view.node.downlink_slot(),
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

/// Time until a request's last token must be ready, if it still has to spend `on_the_air` travelling.
fn slack(view: &View<'_>, left: Span, on_the_air: Span) -> Span {
    if view.settings.policy.is_blind_to_deadlines() {
        return Span::MAX;
    }
    left.saturating_sub(on_the_air)
}

/// Needs are rounded up and slacks down, so that what fits in integers fits in time.
fn micros_up(span: Span) -> u64 {
    span.as_micros_ceil().min(NUMBER_LIMIT - 1)
}

fn micros_down(span: Span) -> u64 {
    span.as_micros_floor().min(NUMBER_LIMIT - 1)
}

/// How long the node needs for what runs and for `planned`: when a new request may hope again.
pub(super) fn time_to_drain(
    view: &View<'_>,
    precision: PrecisionIndex,
    batch: u32,
    planned: &[&Request],
) -> Span {
    let running_us = committed(view, batch).iter().map(|demand| demand.compute_us).sum();
    let planned =
        planned.iter().map(|request| work_in_batch(request, view.node, view.pace, precision, batch));
    Span::from_micros(running_us) + planned.sum()
}
