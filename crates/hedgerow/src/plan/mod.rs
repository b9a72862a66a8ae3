//! How many users a node can serve in time: found by playing the scheduler that serves, never by a formula.
//!
//! - takes: the precisions that a node could hold ([`Here`] of this machine, [`Estimate`] of a device in the
//!   table), a [`Mix`] of requests and the part of them that is to be answered in time
//! - gives: an [`Answer`] for each set of precisions: the greatest rate, and what binds first
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

use hedgerow_core::calibration::Factors;
use hedgerow_core::node::Node;
use hedgerow_core::settings::Settings;

pub(crate) use binding::{Relief, Resource};
pub(crate) use estimate::{Asked, Estimate};
pub(crate) use here::Here;
pub(crate) use mix::{Mix, PromptTokens};
pub(crate) use play::{Point, Usage};
pub(crate) use sets::{Held, LeftOut, Sets, candidates, names};

use search::Curve;

/// What is to be reached, and how closely it is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goal {
    /// The part of all requests that is to be met, above 0 and at most 1.
    pub(crate) attainment: f64,
    /// The greatest rate that reaches it and the least that does not differ by no more than this part.
    pub(crate) resolution: f64,
}

/// What is played besides the node.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub(crate) mix: Mix,
    pub(crate) settings: Settings,
    /// How many times as long steps take as the cost model says.
    pub(crate) stretch: Factors,
    /// One run each.
    pub(crate) seeds: Vec<u64>,
}

/// A set of precisions to hold, as the node that would hold it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Its precisions' places among all that are known.
    pub(crate) set: Vec<usize>,
    pub(crate) node: Node,
}

/// What a candidate can do.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) candidate: Candidate,
    /// Everything that was played, by rate.
    pub(crate) curve: Curve,
    /// The greatest rate that reaches the goal; `None` if none does.
    pub(crate) best: Option<Point>,
    /// Between which rates it lies, with 95 % confidence; needs two seeds.
    pub(crate) interval: Option<(f64, f64)>,
    /// What more of each resource would do beyond that rate, the most helpful first.
    pub(crate) reliefs: Vec<Relief>,
}

impl Answer {
    /// What binds first; `None` where more of nothing would help.
    pub(crate) fn binds_first(&self) -> Option<Resource> {
        self.reliefs.first().filter(|relief| relief.gain >= binding::GAIN_MIN).map(|relief| relief.resource)
    }

    /// Requests a second at best; 0 if no rate reaches the goal.
    pub(crate) fn rate_per_s(&self) -> f64 {
        self.best.as_ref().map_or(0.0, |best| best.rate_per_s)
    }
}

/// Rates beyond which and below which the curve is drawn, against the best.
const AROUND: [f64; 4] = [0.5, 0.75, BEYOND, 1.5];
/// Where it is tried what more of a resource would do, against the best rate.
const BEYOND: f64 = 1.25;

/// Rates that are played for a candidate, more or less: for progress bars.
pub(crate) const RUNS_PER_SET: u64 = 20;

/// Finds what a candidate can do: the greatest rate first, then the curve around it, then what binds.
/// `rates` are played too, and `played` is told of every rate that was.
///
/// # Errors
///
/// When the load cannot be drawn, or no rate is too much.
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
