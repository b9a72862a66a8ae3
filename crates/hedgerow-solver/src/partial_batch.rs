//! What a growing batch uses, and which limit it runs into.

use super::instance::{Demand, Instance, Limit, Timing};

/// The resources a partial batch uses; grows and shrinks by one request at a time.
///
/// Sums are wider than what is summed, so that no number of requests overflows them.
#[derive(Clone, Debug)]
pub(super) struct PartialBatch<'a> {
    instance: &'a Instance,
    chosen: Vec<usize>,
    sums: [u128; 4],
    /// The tightest slack before each choice, so that a choice can be taken back.
    tightest_us: Vec<u64>,
    /// All work by urgency: what is promised already and what is chosen. Kept for `ByDeadline` only.
    due: Vec<Demand>,
}

impl<'a> PartialBatch<'a> {
    /// Nothing chosen yet.
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

    /// The requests chosen, in the order they were.
    pub(super) fn chosen(&self) -> &[usize] {
        &self.chosen
    }

    /// Use of each of [`Limit::SUMS`].
    pub(super) fn sums(&self) -> [u128; 4] {
        self.sums
    }

    /// What this batch, and any that contains it, may use of each of [`Limit::SUMS`].
    pub(super) fn allowed(&self) -> [u64; 4] {
        let [uplink, downlink, memory, compute_us] = self.instance.capacity.limits();
        let compute_us = match self.instance.timing {
            Timing::Together => compute_us.min(self.tightest_us()),
            // Work that is not due by the tightest slack may be done after it.
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

    /// Takes the last added request off again.
    pub(super) fn pop(&mut self) {
        self.remove(self.chosen.len() - 1);
    }

    /// Takes off the request at a place of [`PartialBatch::chosen`].
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

    /// Adds a request if no limit forbids it.
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

    /// The limit that one more request would run into.
    pub(super) fn limit_with(&mut self, index: usize) -> Option<Limit> {
        self.push(index);
        let limit = self.limit();
        self.pop();
        limit
    }

    /// The first limit that the chosen requests run into together.
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
