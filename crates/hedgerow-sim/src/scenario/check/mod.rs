//! Conversion of the raw form to the checked one: units become SI, invalid values become errors.
//!
//! [`ranges`] comes first, so that the rest finds every number in the range of its key.

mod node;
mod radio;
mod users;
mod values;

use std::path::Path;

use hedgerow_core::allocator::Radio;
use hedgerow_core::settings::{Padding, Protocol, Settings};
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;
use hedgerow_solver::Policy;
use hedgerow_workload::{Process, Replay};
use values::{millis, missing, value};

use super::raw::{Raw, RawPadding, RawPlanning, RawProtocol, RawProtocolKind};
use super::{Extent, Scenario, ScenarioError};

pub(super) use users::check_trace_rate;
pub(super) use values::{one, ranges};

type Checked<T> = Result<T, ScenarioError>;

/// Checks a scenario; relative paths start at `folder`.
pub(super) fn scenario(raw: Raw, folder: &Path) -> Checked<Scenario> {
    let accelerators = raw.node.accelerators;
    let users = users::users(&raw.users)?;
    let radio = raw.radio.as_ref().map(radio::radio);
    let cell = raw.radio.as_ref().zip(radio.as_ref());
    let scenario = Scenario {
        extent: extent(&raw)?,
        settings: Settings {
            protocol: protocol(&raw.protocol, radio.as_ref())?,
            policy: policy(&raw.planning.policy, accelerators)?,
            queue_capacity: raw.planning.queue_capacity as usize,
            node_limit: raw.planning.node_limit,
            margin: raw.planning.margin,
            confidence: raw.planning.confidence,
            best_effort_share: raw.planning.best_effort_share,
            padding: padding(&raw.planning)?,
        },
        cell: cell
            .map(|(raw_radio, radio)| radio::cell(raw_radio, radio, raw.knowledge.as_ref()))
            .transpose()?,
        node: node::node(&raw, radio, folder)?,
        classes: users::classes(&raw.class, &users)?,
        process: users::process(raw.arrivals.as_ref(), folder)?,
        knowledge: users::knowledge(raw.knowledge.as_ref())?,
        name: raw.name,
        seed: raw.seed,
        model: raw.model.name,
        device: raw.node.device,
        accelerators,
        users,
    };
    padded_prompts_fit(&scenario)?;
    check_trace_rate(&scenario)?;
    Ok(scenario)
}

/// Reads a policy; `none` alone means one request on each of the node's accelerators.
pub(super) fn policy(name: &str, accelerators: u32) -> Checked<Policy> {
    if name == "none" {
        return Ok(Policy::None { accelerators });
    }
    name.parse().map_err(|source| ScenarioError::Policy { source })
}

fn extent(raw: &Raw) -> Checked<Extent> {
    match (raw.requests, raw.duration_s) {
        (Some(requests), None) => Ok(Extent::Requests(requests)),
        (None, Some(duration_s)) => Ok(Extent::Duration(Span::from_seconds(duration_s))),
        (Some(_), Some(_)) => {
            Err(ScenarioError::Conflict { key: "requests".into(), other: "duration_s".into() })
        }
        (None, None) => Err(missing("requests", "a scenario ends after `requests` or `duration_s`")),
    }
}

fn protocol(raw: &RawProtocol, radio: Option<&Radio>) -> Checked<Protocol> {
    match raw.kind {
        RawProtocolKind::Continuous => Ok(Protocol::Continuous),
        RawProtocolKind::Epoch => {
            let because = "the protocol `epoch` divides time into epochs";
            let length = raw.epoch_ms.map(millis).ok_or_else(|| missing("protocol.epoch_ms", because))?;
            let on_the_air = radio.map_or(Span::ZERO, |radio| radio.uplink_slot + radio.downlink_slot);
            let compute_slot = raw.compute_slot_ms.map(millis).unwrap_or(length.saturating_sub(on_the_air));
            if compute_slot == Span::ZERO || on_the_air + compute_slot > length {
                let must_be = "more than `radio.uplink_slot_ms` and `radio.downlink_slot_ms` together, and no less than \
                               they and `protocol.compute_slot_ms`";
                return Err(value("protocol.epoch_ms", length.as_millis(), must_be));
            }
            Ok(Protocol::Epoch { length, compute_slot })
        }
    }
}

fn padding(raw: &RawPlanning) -> Checked<Padding> {
    match (raw.padding, raw.padding_tokens) {
        (RawPadding::None, None) => Ok(Padding::None),
        (RawPadding::BatchMax, None) => Ok(Padding::BatchMax),
        (RawPadding::Fixed, Some(tokens)) => Ok(Padding::Fixed(Tokens(tokens))),
        (RawPadding::Fixed, None) => {
            Err(missing("planning.padding_tokens", "the padding `fixed` needs a length"))
        }
        (RawPadding::None | RawPadding::BatchMax, Some(_)) => Err(ScenarioError::Conflict {
            key: "planning.padding_tokens".into(),
            other: "planning.padding".into(),
        }),
    }
}

/// Checks that the largest padded prompt and the largest output together fit the context, because the engine opens
/// padded prompts.
fn padded_prompts_fit(scenario: &Scenario) -> Checked<()> {
    let (prompt, output) = longest(scenario);
    let prompt = match scenario.settings.padding {
        // Without padding, each prompt that is too long for the context is rejected on its own.
        Padding::None => return Ok(()),
        Padding::BatchMax => prompt,
        Padding::Fixed(length) => length.max(prompt),
    };
    let context = scenario.node.context;
    if u64::from(prompt.0) + u64::from(output.0) > u64::from(context.0) {
        return Err(ScenarioError::PaddingTooLong { prompt, output, context });
    }
    Ok(())
}

/// The longest prompt and the longest output of any user.
fn longest(scenario: &Scenario) -> (Tokens, Tokens) {
    if let Process::Trace(Replay { trace, fit, .. }) = &scenario.process {
        let lengths = || trace.rows().iter().map(|row| fit.lengths(*row));
        let most = |of: fn((u32, u32)) -> u32| Tokens(lengths().map(of).max().unwrap_or_default());
        return (most(|lengths| lengths.0), most(|lengths| lengths.1));
    }
    let users = || {
        let of_classes = scenario.classes.iter().map(|class| &class.users);
        of_classes.chain(scenario.classes.is_empty().then_some(&scenario.users))
    };
    let prompt = users().map(|users| users.prompts.longest()).max();
    let output = users().map(|users| users.outputs.longest()).max();
    (prompt.unwrap_or_default(), output.unwrap_or_default())
}
