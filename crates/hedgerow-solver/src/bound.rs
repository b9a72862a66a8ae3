//! The most that any batch of an instance can be worth: cheap, and valid for every instance.

use super::instance::{Instance, Item};

/// An upper bound on the value of every allowed batch.
///
/// Safe because it keeps only one limit at a time and lets the last request be taken in part: both
/// only add to what is possible. Requests that no batch can hold are left out, which takes nothing
/// from any allowed batch.
pub fn upper_bound(instance: &Instance) -> u128 {
    let individually_feasible: Vec<&Item> =
        instance.individually_feasible().into_iter().map(|index| &instance.items[index]).collect();
    let [uplink, downlink, memory, compute_us] = instance.capacity.limits();
    // Under either timing the last deadline bounds all work.
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

/// A request as one limit sees it.
struct Entry {
    need: u64,
    value: u64,
}

/// The fractional knapsack: best value per need first, the last one in part, rounded down because
/// values are whole.
fn most_value(entries: impl Iterator<Item = Entry>, allowed: u64) -> u128 {
    let (free, mut priced): (Vec<Entry>, Vec<Entry>) = entries.partition(|entry| entry.need == 0);
    // value/need descending, compared without dividing.
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
