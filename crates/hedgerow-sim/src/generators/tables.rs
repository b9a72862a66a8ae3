//! The families of random integer tables.

use std::ops::RangeInclusive;

use hedgerow_solver::{Capacity, Instance, Item, Timing};
use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;

/// The needs of a request: uplink, downlink, memory, compute time.
pub(super) type Needs = [u64; 4];

/// The default ranges of the needs: millionths of the band, bytes (a KV cache of some hundred tokens) and
/// microseconds.
pub(super) const USUAL: [RangeInclusive<u64>; 4] =
    [5_000..=50_000, 5_000..=50_000, 60_000_000..=300_000_000, 20_000..=200_000];

/// Needs and limits of an instance, without slacks and values.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) rows: Vec<Needs>,
    pub(super) capacity: Needs,
}

impl Table {
    /// Creates a table whose limits are percentages of the total needs.
    pub(super) fn with_limits(rows: Vec<Needs>, percents: [u64; 4]) -> Self {
        let total = |resource: usize| rows.iter().map(|needs| needs[resource]).sum::<u64>();
        let capacity = std::array::from_fn(|resource| total(resource) * percents[resource] / 100);
        Self { rows, capacity }
    }

    /// The instance with these slacks, in thousandths of the compute slot, and values.
    pub(super) fn instance(
        &self,
        mut slack: impl FnMut(usize) -> u64,
        mut value: impl FnMut(&Needs) -> u64,
    ) -> Instance {
        let [uplink, downlink, memory, compute_us] = self.capacity;
        let item = |(index, needs): (usize, &Needs)| {
            let slack_us = self.capacity[3] * slack(index) / 1000;
            let value = value(needs);
            let &[uplink, downlink, memory, compute_us] = needs;
            Item { uplink, downlink, memory, compute_us, slack_us, value }
        };
        Instance {
            items: self.rows.iter().enumerate().map(item).collect(),
            capacity: Capacity { uplink, downlink, memory, compute_us },
            timing: Timing::Together,
        }
    }
}

/// Draws independent uniform needs.
pub(super) fn uniform(draws: &mut ChaCha8Rng, requests: usize) -> Vec<Needs> {
    let mut row = || USUAL.map(|range| draws.random_range(range));
    (0..requests).map(|_| row()).collect()
}

/// Draws one of the choices with equal probability.
pub(super) fn one_of(draws: &mut ChaCha8Rng, choices: &[u64]) -> u64 {
    *choices.choose(draws).expect("there is a choice")
}

pub(super) fn one(_: &Needs) -> u64 {
    1
}

pub(super) fn tight(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let table = Table::with_limits(uniform(draws, requests), [40; 4]);
    // Half of the requests have a slack above the slot; a shorter slack limits the batch that contains it.
    table.instance(|_| one_of(draws, &[750, 900, 2000, 2000]), one)
}

pub(super) fn weighted(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let table = Table::with_limits(uniform(draws, requests), [40; 4]);
    let values: Vec<u64> = (0..requests).map(|_| draws.random_range(1..=10)).collect();
    let mut values = values.into_iter();
    let value = |_: &Needs| values.next().expect("one for each request");
    table.instance(|_| one_of(draws, &[500, 650, 800, 950, 1100, 2000]), value)
}

pub(super) fn correlated(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let table = Table::with_limits(uniform(draws, requests), [40; 4]);
    // From 100 for the least needs to 1000 for the greatest.
    let value = |needs: &Needs| {
        let part = |(need, range): (&u64, &RangeInclusive<u64>)| {
            225 * (need - range.start()) / (range.end() - range.start())
        };
        100 + needs.iter().zip(&USUAL).map(part).sum::<u64>()
    };
    table.instance(|_| one_of(draws, &[800, 2000]), value)
}

pub(super) fn one_limit(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let mut percents = [100; 4];
    percents[draws.random_range(0..4)] = 35;
    let table = Table::with_limits(uniform(draws, requests), percents);
    table.instance(|_| one_of(draws, &[1000, 2000]), one)
}

pub(super) fn deadlines(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let table = Table::with_limits(uniform(draws, requests), [60, 60, 60, 50]);
    let mut instance = table.instance(|_| 0, one);
    // Stratified: one slack in each of as many equal parts of the range from 1/20 to 3/2 of the slot.
    let slot_us = instance.capacity.compute_us;
    let part_us = (slot_us * 29 / 20 / requests as u64).max(1);
    let mut slacks: Vec<u64> = (0..requests as u64)
        .map(|index| slot_us / 20 + part_us * index + draws.random_range(0..part_us))
        .collect();
    slacks.shuffle(draws);
    for (item, slack_us) in instance.items.iter_mut().zip(slacks) {
        item.slack_us = slack_us;
    }
    instance
}

pub(super) fn anti_correlated(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let mut row = || {
        let mut needs = [0; 4];
        for pair in [0, 2] {
            let part = draws.random_range(0.0..1.0);
            for (resource, part) in [(pair, part), (pair + 1, 1.0 - part)] {
                // A little noise, so that the sum of two needs is not constant.
                let part: f64 = part + draws.random_range(-0.05..=0.05);
                let (least, most) = (*USUAL[resource].start(), *USUAL[resource].end());
                needs[resource] = least + (part.clamp(0.0, 1.0) * (most - least) as f64) as u64;
            }
        }
        needs
    };
    let rows = (0..requests).map(|_| row()).collect();
    let table = Table::with_limits(rows, [40; 4]);
    table.instance(|_| 300 + 150 * draws.random_range(0..8), one)
}

pub(super) fn near_ties(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    const MIDDLE: Needs = [20_000, 20_000, 150_000_000, 100_000];
    let mut row = || MIDDLE.map(|need| draws.random_range(need * 99 / 100..=need * 101 / 100));
    let rows = (0..requests).map(|_| row()).collect();
    // Two fifths of the requests would fit if all needs were the middle ones. The limits are 0.1 to 0.4 % lower, so
    // that as many fit only if the choice is good for all four limits at once.
    let fitting = (requests as u64 * 2 / 5).max(1);
    let capacity = MIDDLE.map(|need| fitting * need / 1000 * (1000 - draws.random_range(1..=4)));
    Table { rows, capacity }.instance(|_| draws.random_range(990..=1010), one)
}
