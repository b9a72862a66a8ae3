//! The baseline for the event rate: a bare binary heap of times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The number of pending events: somewhat more than the simulator's event queue holds, which has one for the next
/// arrival, one for the step and one for each request that may be abandoned.
const PENDING: u64 = 32;
/// The most events measured; more are not needed for a stable figure.
const EVENTS_MAX: u64 = 20_000_000;

/// Measures events per second in the hold model: each event removes the earliest time and inserts a later one, with
/// ties broken by sequence number as in the simulator.
pub(super) fn events_per_s(events: u64) -> f64 {
    let events = events.clamp(1_000_000, EVENTS_MAX);
    // Drawn in advance, so that only the heap is measured.
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let steps_ns: Vec<u64> = (0..4096).map(|_| random.random_range(0..10_000_000)).collect();
    let mut heap: BinaryHeap<Reverse<(u64, u64)>> = (0..PENDING).map(|number| Reverse((0, number))).collect();
    let began = Instant::now();
    for number in 0..events {
        if let Some(Reverse((at, _))) = heap.pop() {
            heap.push(Reverse((at + steps_ns[number as usize % steps_ns.len()], PENDING + number)));
        }
    }
    black_box(&heap);
    events as f64 / began.elapsed().as_secs_f64()
}
