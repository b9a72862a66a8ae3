//! The binding resource: the one whose doubling raises attainment most under overload.

use hedgerow_core::engine::CostModel;
use hedgerow_core::engine::cost::{Line, MeasuredCost, RooflineCost, Surface};
use hedgerow_core::node::Node;
use serde::Serialize;

use super::Point;

/// A smaller gain in attainment counts as none.
pub(super) const GAIN_MIN: f64 = 0.005;

/// A resource of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Resource {
    /// Slots for running requests.
    Slots,
    /// Memory for KV caches.
    KvMemory,
    /// The engine's time for prompts (`measured`).
    Prompts,
    /// The engine's time for decodes (`measured`).
    Decodes,
    /// Arithmetic (`roofline`).
    Arithmetic,
    /// Memory bandwidth (`roofline`).
    Bandwidth,
    /// The link to the callers.
    Link,
}

/// The effect of doubling a resource.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Relief {
    pub(crate) resource: Resource,
    /// The increase in attainment.
    pub(crate) gain: f64,
}

impl Resource {
    const ALL: [Self; 7] = [
        Self::Slots,
        Self::KvMemory,
        Self::Prompts,
        Self::Decodes,
        Self::Arithmetic,
        Self::Bandwidth,
        Self::Link,
    ];

    /// The resource's name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::KvMemory => "KV memory",
            Self::Prompts => "time for prompts",
            Self::Decodes => "time for decodes",
            Self::Arithmetic => "arithmetic",
            Self::Bandwidth => "memory bandwidth",
            Self::Link => "link",
        }
    }

    /// Returns the node with twice as much of the resource; `None` where the node does not model it.
    fn doubled(self, node: &Node) -> Option<Node> {
        let mut more = node.clone();
        match (self, &node.cost) {
            (Self::Slots, _) => more.max_parallel *= 2,
            (Self::KvMemory, _) => more.memory = node.memory + node.kv_memory(),
            (Self::Link, _) => {
                let wire = more.wire.as_mut()?;
                wire.downlink = wire.downlink * 2.0;
            }
            (Self::Prompts | Self::Decodes, CostModel::Measured(cost)) => {
                more.cost = CostModel::Measured(self.halved(cost));
                for precision in &mut more.precisions {
                    precision.measured = precision.measured.as_ref().map(|cost| self.halved(cost));
                }
            }
            (Self::Arithmetic, CostModel::Roofline(cost)) => {
                more.cost = CostModel::Roofline(RooflineCost { speed: cost.speed * 2.0, ..*cost });
            }
            (Self::Bandwidth, CostModel::Roofline(cost)) => {
                more.cost = CostModel::Roofline(RooflineCost { bandwidth: cost.bandwidth * 2.0, ..*cost });
            }
            (Self::Prompts | Self::Decodes | Self::Arithmetic | Self::Bandwidth, _) => return None,
        }
        Some(more)
    }

    /// Returns the cost model with half the time for prompts or for decodes.
    fn halved(self, cost: &MeasuredCost) -> MeasuredCost {
        let mut cost = cost.clone();
        let surface = if self == Self::Prompts { &mut cost.prefill } else { &mut cost.decode };
        let half = |line: &Line| Line {
            count: line.count,
            times_ns: line.times_ns.iter().map(|&(depth, time)| (depth, time / 2)).collect(),
        };
        *surface = Surface::new(surface.lines().iter().map(half).collect())
            .expect("counts and depths are those of a surface");
        cost
    }
}

/// Measures the gain of doubling each resource, the largest first. `without` is the node's own result; it is
/// simulated if it is not known yet.
///
/// # Errors
///
/// Those of `play`.
pub(super) fn reliefs(
    node: &Node,
    without: Option<&Point>,
    mut play: impl FnMut(&Node) -> anyhow::Result<Point>,
) -> anyhow::Result<Vec<Relief>> {
    let without = match without {
        Some(point) => point.mean(),
        None => play(node)?.mean(),
    };
    let mut reliefs = Vec::new();
    for resource in Resource::ALL {
        let Some(more) = resource.doubled(node) else { continue };
        reliefs.push(Relief { resource, gain: play(&more)?.mean() - without });
    }
    reliefs.sort_by(|one, other| other.gain.total_cmp(&one.gain));
    Ok(reliefs)
}
