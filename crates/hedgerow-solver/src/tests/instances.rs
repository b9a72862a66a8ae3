//! Generators of test instances: of the paper's structure, and without structure.

use super::draw::{Draw, Exhaustive, Seeded};
use super::*;

/// An instance of the paper's structure with at most `most` requests.
///
/// All values are 1. Compute time and memory follow from the output length, since prompts are padded. Both radio
/// needs follow from one channel gain, so that for one output length their orders agree.
pub(super) fn paper(draw: &mut impl Draw, most: u64, scale: &Scale) -> Instance {
    let mut items = Vec::new();
    let mut least_kind = 0;
    for _ in 0..draw.up_to(most) {
        // Kinds are in ascending order, because the order of the requests does not matter.
        let kinds = scale.lengths * scale.gains * scale.slacks.len() as u64;
        let kind = least_kind + draw.up_to(kinds - 1 - least_kind);
        least_kind = if scale.is_sorted { kind } else { 0 };
        let length = 1 + kind % scale.lengths;
        let badness = 1 + kind / scale.lengths % scale.gains;
        let slack_us = scale.slacks[(kind / scale.lengths / scale.gains) as usize];
        items.push(Item {
            uplink: 3 * badness,
            downlink: 2 * length * badness,
            memory: 4 + length,
            compute_us: 10 * length,
            slack_us,
            value: 1,
        });
    }
    let capacity = Capacity {
        uplink: draw.one_of(scale.uplinks),
        downlink: draw.one_of(scale.downlinks),
        memory: draw.one_of(scale.memories),
        compute_us: draw.one_of(scale.computes_us),
    };
    Instance { capacity, items, timing: Timing::Together }
}

/// The parameter ranges of [`paper`].
pub(super) struct Scale {
    lengths: u64,
    gains: u64,
    slacks: &'static [u64],
    uplinks: &'static [u64],
    downlinks: &'static [u64],
    memories: &'static [u64],
    computes_us: &'static [u64],
    is_sorted: bool,
}

impl Scale {
    /// Small enough for exhaustive enumeration.
    const SMALL: Self = Self {
        lengths: 2,
        gains: 2,
        slacks: &[20, 50],
        uplinks: &[12, 99],
        downlinks: &[11, 99],
        memories: &[16, 99],
        computes_us: &[40, 99],
        is_sorted: true,
    };
    /// Larger ranges, for seeded draws.
    const LARGE: Self = Self {
        lengths: 3,
        gains: 6,
        slacks: &[15, 20, 35, 60, 90, 200],
        uplinks: &[10, 25, 40, 100],
        downlinks: &[15, 35, 60, 140],
        memories: &[12, 30, 45, 90],
        computes_us: &[30, 70, 120, 300],
        is_sorted: false,
    };
}

/// An arbitrary instance: zeros, unequal values, limits that bind or do not, either timing.
pub(super) fn arbitrary(draw: &mut impl Draw, most: u64) -> Instance {
    let numbers = draw.one_of(&[1, 3, 20]);
    let items = (0..draw.up_to(most))
        .map(|_| Item {
            uplink: draw.up_to(numbers),
            downlink: draw.up_to(numbers),
            memory: draw.up_to(numbers),
            compute_us: draw.up_to(numbers),
            slack_us: draw.up_to(5 * numbers),
            value: draw.up_to(numbers),
        })
        .collect();
    let capacity = Capacity {
        uplink: draw.up_to(6 * numbers),
        downlink: draw.up_to(6 * numbers),
        memory: draw.up_to(6 * numbers),
        compute_us: draw.up_to(6 * numbers),
    };
    let timing = match draw.up_to(1) {
        0 => Timing::Together,
        _ => Timing::ByDeadline { committed: committed_work(draw, numbers) },
    };
    Instance { capacity, items, timing }
}

/// Committed work that by itself meets its deadlines.
fn committed_work(draw: &mut impl Draw, numbers: u64) -> Vec<Demand> {
    let mut slack_us = 0;
    (0..draw.up_to(3))
        .map(|_| {
            let compute_us = draw.up_to(numbers);
            slack_us += compute_us + draw.up_to(numbers);
            Demand { slack_us, compute_us }
        })
        .collect()
}

/// Calls `look` with every small instance of the paper's structure.
pub(super) fn every_small_paper_instance(most: u64, mut look: impl FnMut(&Instance)) {
    let mut draw = Exhaustive::default();
    while draw.next() {
        look(&paper(&mut draw, most, &Scale::SMALL));
    }
}

/// Calls `look` with `count` large instances of the paper's structure.
pub(super) fn some_paper_instances(count: u64, most: u64, mut look: impl FnMut(&Instance)) {
    for seed in 0..count {
        look(&paper(&mut Seeded(seed), most, &Scale::LARGE));
    }
}

/// Calls `look` with `count` instances without structure.
pub(super) fn some_arbitrary_instances(count: u64, most: u64, mut look: impl FnMut(&Instance)) {
    for seed in 0..count {
        look(&arbitrary(&mut Seeded(seed), most));
    }
}

/// An instance whose prompts are padded for the node but not for transmission, so that for one output length the
/// orders of the two radio needs may disagree.
pub(super) fn unpadded_on_the_air(draw: &mut impl Draw, requests: u64) -> Instance {
    let items = (0..requests)
        .map(|_| {
            let (prompt, output) = (draw.one_of(&[1, 2, 4]), draw.one_of(&[1, 2, 4]));
            let badness = 10 + draw.up_to(30);
            Item {
                uplink: 3 * prompt * badness,
                downlink: 2 * output * badness,
                memory: 4 + output,
                compute_us: 40 + 10 * output,
                slack_us: 100 + draw.up_to(300),
                value: 1,
            }
        })
        .collect();
    let capacity = Capacity { uplink: 700, downlink: 500, memory: 40, compute_us: 300 };
    Instance { capacity, items, timing: Timing::Together }
}

/// An instance from limits, and requests as rows of uplink, downlink, memory, compute, slack, value.
pub(super) fn table(capacity: [u64; 4], rows: &[[u64; 6]]) -> Instance {
    let [uplink, downlink, memory, compute_us] = capacity;
    let item = |&[uplink, downlink, memory, compute_us, slack_us, value]: &[u64; 6]| Item {
        uplink,
        downlink,
        memory,
        compute_us,
        slack_us,
        value,
    };
    Instance {
        capacity: Capacity { uplink, downlink, memory, compute_us },
        items: rows.iter().map(item).collect(),
        timing: Timing::Together,
    }
}
