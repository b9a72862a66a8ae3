//! Policies that take requests in a fixed order as long as they fit.

use super::answer::Answer;
use super::bound;
use super::instance::Instance;
use super::partial_batch::PartialBatch;

/// First come, first served.
pub(super) fn fifo(instance: &Instance) -> Answer {
    take(instance, (0..instance.items.len()).collect(), |_, _| true)
}

/// Earliest deadline first.
pub(super) fn edf(instance: &Instance) -> Answer {
    let mut order: Vec<usize> = (0..instance.items.len()).collect();
    order.sort_by_key(|&index| (instance.items[index].slack_us, index));
    take(instance, order, |_, _| true)
}

/// Static batching (StB): first come, first served, in batches of a fixed size.
pub(super) fn static_batch(instance: &Instance, size: usize) -> Answer {
    take(instance, (0..instance.items.len()).collect(), |_, batch| batch.chosen().len() < size)
}

/// No batching (NoB): each accelerator serves one request by itself, with its share of the node's compute.
///
/// On one of `accelerators`, a request takes that many times longer than on the whole node; it must still be in time.
pub(super) fn none(instance: &Instance, accelerators: usize) -> Answer {
    take(instance, (0..instance.items.len()).collect(), |index, batch| {
        let item = &instance.items[index];
        let alone_us = u128::from(item.compute_us) * accelerators as u128;
        let allowed_us = u128::from(item.slack_us.min(instance.capacity.compute_us));
        batch.chosen().len() < accelerators && alone_us <= allowed_us
    })
}

fn take(
    instance: &Instance,
    order: Vec<usize>,
    mut may: impl FnMut(usize, &PartialBatch<'_>) -> bool,
) -> Answer {
    let mut batch = PartialBatch::new(instance);
    for index in order {
        if may(index, &batch) {
            // Not fitting is an ordinary case: the request stays out.
            let _ = batch.push_if_it_fits(index);
        }
    }
    Answer::of(instance, batch.chosen().to_vec(), bound::upper_bound(instance))
}
