//! Needs whose sums cannot equal the limits: needs are multiples of a step, the limits are not.

use hedgerow_solver::Instance;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::tables::{self, Needs, Table};

/// Choices for half of the step; twice each choice divides 10,000, 40,000 and 50,000.
const HALF_STEPS: [u64; 4] = [1, 5, 50, 500];

pub(super) fn draw(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let half = tables::one_of(draws, &HALF_STEPS);
    if draws.random() { split_band(draws, requests, half) } else { subset_sum(draws, requests, half) }
}

/// Draws requests whose uplink and downlink needs have the same sum, so that both limits together just suffice for
/// `fitting` requests. But each limit lies half a step above a multiple of the step, so half a step of each is
/// always unused and one request fewer fits. Linear bounds miss this, because a fraction of a request would fill
/// the gap.
///
/// Up to two requests are exceptions, shifted by half a step. With one of them `fitting` requests can fit, if the
/// others use up both directions completely.
fn split_band(draws: &mut ChaCha8Rng, requests: usize, half: u64) -> Instance {
    const BOTH: u64 = 50_000;
    let step = 2 * half;
    let mut rows = tables::uniform(draws, requests);
    let exceptions = draws.random_range(0..=2);
    for (index, needs) in rows.iter_mut().enumerate() {
        let aside = if index < exceptions { half } else { 0 };
        needs[0] = step * draws.random_range(10_000 / step..40_000 / step) + aside;
        needs[1] = BOTH - needs[0];
    }
    let fitting = (requests as u64 * 2 / 5).max(1);
    let uplink = fitting * BOTH / 2 / step * step + half;
    let mut table = Table::with_limits(rows, [0, 0, 60, 60]);
    table.capacity[0] = uplink;
    table.capacity[1] = fitting * BOTH - uplink;
    table.instance(|_| tables::one_of(draws, &[750, 2000]), tables::one)
}

/// Draws a subset sum: values equal the needs for one resource, whose limit lies half a step above a multiple of the
/// step. A linear bound is the limit itself, and the best possible sum is at least half a step lower.
fn subset_sum(draws: &mut ChaCha8Rng, requests: usize, half: u64) -> Instance {
    let step = 2 * half;
    let resource = draws.random_range(0..4);
    let mut rows = tables::uniform(draws, requests);
    for needs in &mut rows {
        needs[resource] = needs[resource] / step * step;
    }
    let mut percents = [60; 4];
    percents[resource] = 40;
    let mut table = Table::with_limits(rows, percents);
    table.capacity[resource] = table.capacity[resource] / step * step + half;
    table.instance(|_| tables::one_of(draws, &[1000, 2000]), |needs: &Needs| needs[resource])
}
