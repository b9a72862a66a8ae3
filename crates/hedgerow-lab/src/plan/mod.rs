//! Capacity planning: how many users a node can serve in time, found by simulating the server's own scheduler, never
//! by a formula.
//!
//! - takes: the precisions that a node could hold ([`Here`] of this machine, [`Estimate`] of a device in the
//!   table), a [`Mix`] of requests and the target attainment
//! - gives: an [`Answer`] for each set of precisions: the greatest rate, and the resource that binds first
//! - never: loads an engine, or measures
//!
//! Read [`answer`] first.

mod binding;
mod estimate;
mod here;
mod mix;
mod play;
mod search;
mod sets;
#[cfg(test)]
mod tests;

use hedgerow_core::node::Node;
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::settings::Settings;
use search::Curve;

pub(crate) use binding::{Relief, Resource};
pub(crate) use estimate::{Asked, Estimate};
pub(crate) use here::Here;
pub(crate) use mix::{Mix, PromptTokens};
pub(crate) use play::{Point, Usage};
pub(crate) use sets::{Held, LeftOut, Sets, candidates, names};

/// The target of a plan, and the tolerance of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goal {
    /// The fraction of all requests that must be met, above 0 and at most 1.
    pub(crate) attainment: f64,
    /// The largest relative difference between the greatest rate that reaches it and the least that does not.
    pub(crate) resolution: f64,
}

/// What a simulation needs besides the node.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub(crate) mix: Mix,
    pub(crate) settings: Settings,
    /// The engine slowdown: how many times as long steps take as the cost model predicts.
    pub(crate) slowdown: Factors,
    /// The seeds, one run each.
    pub(crate) seeds: Vec<u64>,
}

/// A set of precisions to hold, and the node that would hold it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The indices of its precisions among all that are known.
    pub(crate) set: Vec<usize>,
    pub(crate) node: Node,
}

/// The result for one candidate.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) candidate: Candidate,
    /// Every simulated point, by rate.
    pub(crate) curve: Curve,
    /// The greatest rate that reaches the goal; `None` if none does.
    pub(crate) best: Option<Point>,
    /// The 95 % confidence interval of that rate; needs two seeds.
    pub(crate) interval: Option<(f64, f64)>,
    /// The gain of doubling each resource somewhat beyond that rate, the largest gain first.
    pub(crate) reliefs: Vec<Relief>,
}

impl Answer {
    /// The resource that binds first; `None` where more of no resource would help.
    pub(crate) fn binds_first(&self) -> Option<Resource> {
        self.reliefs.first().filter(|relief| relief.gain >= binding::GAIN_MIN).map(|relief| relief.resource)
    }

    /// The greatest rate in requests per second; 0 if no rate reaches the goal.
    pub(crate) fn rate_per_s(&self) -> f64 {
        self.best.as_ref().map_or(0.0, |best| best.rate_per_s)
    }
}

/// Further rates of the curve, as factors of the best rate.
const AROUND: [f64; 4] = [0.5, 0.75, BEYOND, 1.5];
/// The rate at which each resource is doubled, as a factor of the best rate.
const BEYOND: f64 = 1.25;

/// The approximate number of rates simulated for a candidate, for progress bars.
pub(crate) const RUNS_PER_SET: u64 = 20;

/// Plans for one candidate: finds the greatest rate, then the curve around it, then the binding resource.
/// `rates` are simulated too, and `played` is called after each simulated rate.
///
/// # Errors
///
/// When the workload cannot be drawn, or even the highest rate reaches the goal.
pub(crate) fn answer(
    candidate: Candidate,
    play: &Play,
    goal: Goal,
    rates: &[f64],
    played: &dyn Fn(),
) -> anyhow::Result<Answer> {
    let at = |node: &Node, rate_per_s: f64| {
        let point = play.at(node, rate_per_s);
        played();
        point
    };
    let playable = play.mix.playable_per_s();
    let (least, most) = (*playable.start(), *playable.end());
    let mut curve = Curve::default();
    let best = search::greatest_rate(goal, playable, &mut curve, |rate| at(&candidate.node, rate))?;
    let around = best.iter().flat_map(|best| AROUND.map(|factor| (factor * best).min(most)));
    for rate_per_s in around.chain(rates.iter().copied()) {
        if curve.at(rate_per_s).is_none() {
            curve.add(at(&candidate.node, rate_per_s)?);
        }
    }
    let beyond = best.map_or(least, |best| (BEYOND * best).min(most));
    let reliefs = binding::reliefs(&candidate.node, curve.at(beyond), |node| at(node, beyond))?;
    let best = best.and_then(|best| curve.at(best).cloned());
    Ok(Answer { interval: curve.interval(goal.attainment), best, curve, reliefs, candidate })
}
