//! An upper bound on the value of any batch: cheap, and valid for every instance.

use super::instance::{Instance, Item};

/// An upper bound on the value of every feasible batch: the least fractional-knapsack bound over the limits.
///
/// Safe because it relaxes the problem to one limit at a time and allows the last request to be taken in part.
/// Requests that are individually infeasible are left out, which excludes no feasible batch.
pub fn upper_bound(instance: &Instance) -> u128 {
    let individually_feasible: Vec<&Item> =
        instance.individually_feasible().into_iter().map(|index| &instance.items[index]).collect();
    let [uplink, downlink, memory, compute_us] = instance.capacity.limits();
    // Under either timing, all work is done by the last deadline.
    let latest_us = individually_feasible.iter().map(|item| item.slack_us).max().unwrap_or(0);
    let allowed = [uplink, downlink, memory, compute_us.min(latest_us)];
    let one_limit = |sum: usize| {
        most_value(
            individually_feasible.iter().map(|item| Entry { need: item.needs()[sum], value: item.value }),
            allowed[sum],
        )
    };
    (0..4).map(one_limit).min().expect("there are four limits")
}

/// A request's need under one limit, and its value.
struct Entry {
    need: u64,
    value: u64,
}

/// The fractional knapsack (Dantzig's bound): highest value per need first, the last request in part, rounded down
/// because values are integers.
fn most_value(entries: impl Iterator<Item = Entry>, allowed: u64) -> u128 {
    let (free, mut priced): (Vec<Entry>, Vec<Entry>) = entries.partition(|entry| entry.need == 0);
    // Descending value/need, compared by cross-multiplication.
    priced.sort_by(|a, b| {
        (u128::from(b.value) * u128::from(a.need)).cmp(&(u128::from(a.value) * u128::from(b.need)))
    });
    let mut value: u128 = free.iter().map(|entry| u128::from(entry.value)).sum();
    let mut left = allowed;
    for entry in priced {
        if entry.need > left {
            return value + u128::from(entry.value) * u128::from(left) / u128::from(entry.need);
        }
        left -= entry.need;
        value += u128::from(entry.value);
    }
    value
}
