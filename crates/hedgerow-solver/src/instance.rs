//! The batching problem as a table of integers, so that solvers do not depend on radios or transformers.
//!
//! Format and meaning: `model.md §2`. Numbers are integers below 2⁵³, so that arithmetic and proofs are exact; their
//! units are the writer's choice.

use super::partial_batch::PartialBatch;

/// Exclusive upper limit of all numbers of an instance.
pub const NUMBER_LIMIT: u64 = 1 << 53;

/// An instance of the batching problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// The capacity of each resource.
    pub capacity: Capacity,
    /// The requests, in order of arrival.
    pub items: Vec<Item>,
    /// The deadline constraint.
    pub timing: Timing,
}

/// The capacity of each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Uplink `U`.
    pub uplink: u64,
    /// Downlink `D`.
    pub downlink: u64,
    /// Memory `M`.
    pub memory: u64,
    /// Compute time `C`.
    pub compute_us: u64,
}

impl Capacity {
    /// The capacity of each of [`Limit::SUMS`].
    pub(super) fn limits(&self) -> [u64; 4] {
        [self.uplink, self.downlink, self.memory, self.compute_us]
    }
}

/// One request: its needs, slack and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Need of the uplink.
    pub uplink: u64,
    /// Need of the downlink.
    pub downlink: u64,
    /// Need of memory.
    pub memory: u64,
    /// Need of compute time.
    pub compute_us: u64,
    /// Time until its computing must be done.
    pub slack_us: u64,
    /// Value of serving it.
    pub value: u64,
}

impl Item {
    /// Its need of each of [`Limit::SUMS`].
    pub(super) fn needs(&self) -> [u64; 4] {
        [self.uplink, self.downlink, self.memory, self.compute_us]
    }
}

/// The deadline constraint of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// All requests finish together, so the tightest slack bounds the batch's whole compute time:
    /// `Σ compute ≤ min(C, min slack)`. The paper's epoch, and the meaning of an instance file.
    #[default]
    Together,
    /// Each request finishes when its own work is done, the most urgent first: for every slack `s`, the work due by
    /// `s` takes at most `s`. Continuous batching (`model.md §4`).
    ///
    /// Departs from `model.md §2`, whose one bound for the whole batch would reject a request with a minute of slack
    /// because another has a second.
    ByDeadline {
        /// Work admitted already; by itself it meets all its slacks.
        committed: Vec<Demand>,
    },
}

/// Compute time that is due by a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Time until it is due.
    pub slack_us: u64,
    /// The compute time.
    pub compute_us: u64,
}

/// A limit that a batch can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The uplink is full.
    Uplink,
    /// The downlink is full.
    Downlink,
    /// Memory is full.
    Memory,
    /// The compute slot is full.
    Compute,
    /// A deadline would be missed.
    Deadline,
}

impl Limit {
    /// The limits on sums of needs, in the order of [`Item::needs`] and [`Capacity::limits`].
    pub(super) const SUMS: [Self; 4] = [Self::Uplink, Self::Downlink, Self::Memory, Self::Compute];

    /// Its name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Downlink => "downlink",
            Self::Memory => "memory",
            Self::Compute => "compute",
            Self::Deadline => "deadline",
        }
    }
}

impl Instance {
    /// Total value of the chosen items.
    pub fn value_of(&self, chosen: &[usize]) -> u128 {
        chosen.iter().map(|&index| u128::from(self.items[index].value)).sum()
    }

    /// Whether only deadlines can bind: all items together fit every other limit.
    pub(super) fn only_deadlines_bind(&self) -> bool {
        let limits = self.capacity.limits();
        (0..4).all(|sum| {
            let needs = self.items.iter().map(|item| u128::from(item.needs()[sum]));
            needs.sum::<u128>() <= u128::from(limits[sum])
        })
    }

    /// The items that are feasible by themselves, and so are in some feasible batch.
    pub(super) fn individually_feasible(&self) -> Vec<usize> {
        let mut batch = PartialBatch::new(self);
        (0..self.items.len()).filter(|&index| batch.limit_with(index).is_none()).collect()
    }
}
