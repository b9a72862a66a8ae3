//! The batching problem as one small table, so that solvers know nothing of radios or transformers.
//!
//! Format and meaning: `model.md §2`. Numbers are integers below 2⁵³, so that arithmetic on them is
//! exact and a proof is a proof; their units are the writer's.

use super::partial_batch::PartialBatch;

/// No number of an instance may be this large or larger.
pub const NUMBER_LIMIT: u64 = 1 << 53;

/// What is to be shared, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// What there is.
    pub capacity: Capacity,
    /// The requests, first come first.
    pub items: Vec<Item>,
    /// What the deadlines demand of a batch.
    pub timing: Timing,
}

/// What there is of each resource.
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
    /// What there is of each of [`Limit::SUMS`].
    pub(super) fn limits(&self) -> [u64; 4] {
        [self.uplink, self.downlink, self.memory, self.compute_us]
    }
}

/// One request: what it needs, how long it can wait, and what it is worth.
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
    /// Time until the batch must have been computed.
    pub slack_us: u64,
    /// Worth of serving it.
    pub value: u64,
}

impl Item {
    /// What it needs of each of [`Limit::SUMS`].
    pub(super) fn needs(&self) -> [u64; 4] {
        [self.uplink, self.downlink, self.memory, self.compute_us]
    }
}

/// What the deadlines demand of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// All finish together, so the tightest slack bounds the batch's whole compute time:
    /// `Σ compute ≤ min(C, min slack)`. The paper's epoch, and the meaning of an instance file.
    #[default]
    Together,
    /// Each finishes when its own work is done, the most urgent first: for every slack `s`, the work
    /// due by `s` takes at most `s`. Continuous batching (`model.md §4`).
    ///
    /// Departs from `model.md §2`, whose one bound for the whole batch would let a caller who can wait a
    /// minute be refused because another can wait a second.
    ByDeadline {
        /// Work already admitted; by itself it meets every slack in it.
        committed: Vec<Demand>,
    },
}

/// Compute time that is due by a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Time until it is due.
    pub slack_us: u64,
    /// How much of it.
    pub compute_us: u64,
}

/// A limit that a batch can run into.
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
    /// The limits that simply add up, in the order of [`Item::needs`] and [`Capacity::limits`].
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
    /// Total value of some of its items.
    pub fn value_of(&self, chosen: &[usize]) -> u128 {
        chosen.iter().map(|&index| u128::from(self.items[index].value)).sum()
    }

    /// Whether nothing but the deadlines can keep items out: all together fit every other limit.
    pub(super) fn only_deadlines_bind(&self) -> bool {
        let limits = self.capacity.limits();
        (0..4).all(|sum| {
            let needs = self.items.iter().map(|item| u128::from(item.needs()[sum]));
            needs.sum::<u128>() <= u128::from(limits[sum])
        })
    }

    /// The items that some allowed batch holds: those that could be served alone.
    pub(super) fn individually_feasible(&self) -> Vec<usize> {
        let mut load = PartialBatch::new(self);
        (0..self.items.len()).filter(|&index| load.limit_with(index).is_none()).collect()
    }
}
