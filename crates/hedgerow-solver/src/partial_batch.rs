//! A partial batch: the resources that it uses, and the limit that it breaks.

use super::instance::{Demand, Instance, Limit, Timing};

/// A batch that grows and shrinks by one request at a time, with the resources that it uses.
///
/// Sums are wider than their terms, so that no number of requests overflows them.
#[derive(Clone, Debug)]
pub(super) struct PartialBatch<'a> {
    instance: &'a Instance,
    chosen: Vec<usize>,
    sums: [u128; 4],
    /// The tightest slack before each choice, so that a choice can be undone.
    tightest_us: Vec<u64>,
    /// Committed and chosen work, in order of slack. Maintained for `ByDeadline` only.
    due: Vec<Demand>,
}

impl<'a> PartialBatch<'a> {
    /// An empty batch.
    pub(super) fn new(instance: &'a Instance) -> Self {
        let due = match &instance.timing {
            Timing::Together => Vec::new(),
            Timing::ByDeadline { committed } => {
                let mut due = committed.clone();
                due.sort_unstable();
                due
            }
        };
        Self { instance, chosen: Vec::new(), sums: [0; 4], tightest_us: vec![u64::MAX], due }
    }

    /// The chosen requests, in the order in which they were added.
    pub(super) fn chosen(&self) -> &[usize] {
        &self.chosen
    }

    /// Its use of each of [`Limit::SUMS`].
    pub(super) fn sums(&self) -> [u128; 4] {
        self.sums
    }

    /// What this batch, and any superset of it, may use of each of [`Limit::SUMS`].
    pub(super) fn allowed(&self) -> [u64; 4] {
        let [uplink, downlink, memory, compute_us] = self.instance.capacity.limits();
        let compute_us = match self.instance.timing {
            Timing::Together => compute_us.min(self.tightest_us()),
            // Work with more slack than the tightest may be done later.
            Timing::ByDeadline { .. } => compute_us,
        };
        [uplink, downlink, memory, compute_us]
    }

    fn tightest_us(&self) -> u64 {
        *self.tightest_us.last().expect("never empty")
    }

    /// Adds a request.
    pub(super) fn push(&mut self, index: usize) {
        let item = &self.instance.items[index];
        self.chosen.push(index);
        for (sum, need) in self.sums.iter_mut().zip(item.needs()) {
            *sum += u128::from(need);
        }
        self.tightest_us.push(self.tightest_us().min(item.slack_us));
        if matches!(self.instance.timing, Timing::ByDeadline { .. }) {
            let demand = Demand { slack_us: item.slack_us, compute_us: item.compute_us };
            self.due.insert(self.due.partition_point(|other| other < &demand), demand);
        }
    }

    /// Removes the request added last.
    pub(super) fn pop(&mut self) {
        self.remove(self.chosen.len() - 1);
    }

    /// Removes the request at a position of [`PartialBatch::chosen`].
    pub(super) fn remove(&mut self, place: usize) {
        let index = self.chosen.remove(place);
        let item = &self.instance.items[index];
        for (sum, need) in self.sums.iter_mut().zip(item.needs()) {
            *sum -= u128::from(need);
        }
        self.tightest_us.truncate(place + 1);
        for &later in &self.chosen[place..] {
            self.tightest_us.push(self.tightest_us().min(self.instance.items[later].slack_us));
        }
        if matches!(self.instance.timing, Timing::ByDeadline { .. }) {
            let demand = Demand { slack_us: item.slack_us, compute_us: item.compute_us };
            self.due.remove(self.due.partition_point(|other| other < &demand));
        }
    }

    /// Adds a request if that breaks no limit.
    pub(super) fn push_if_it_fits(&mut self, index: usize) -> Result<(), Limit> {
        self.push(index);
        match self.limit() {
            None => Ok(()),
            Some(limit) => {
                self.pop();
                Err(limit)
            }
        }
    }

    /// The limit that the batch would break with one more request.
    pub(super) fn limit_with(&mut self, index: usize) -> Option<Limit> {
        self.push(index);
        let limit = self.limit();
        self.pop();
        limit
    }

    /// The first limit that the batch breaks.
    pub(super) fn limit(&self) -> Option<Limit> {
        let capacity = self.instance.capacity.limits();
        let full = (0..4).find(|&sum| self.sums[sum] > u128::from(capacity[sum]));
        full.map(|sum| Limit::SUMS[sum]).or_else(|| self.misses_a_deadline().then_some(Limit::Deadline))
    }

    fn misses_a_deadline(&self) -> bool {
        match self.instance.timing {
            Timing::Together => {
                let [.., compute_us] = self.sums;
                compute_us > u128::from(self.tightest_us())
            }
            Timing::ByDeadline { .. } => {
                let mut work_us = 0;
                self.due.iter().any(|demand| {
                    work_us += u128::from(demand.compute_us);
                    work_us > u128::from(demand.slack_us)
                })
            }
        }
    }
}
