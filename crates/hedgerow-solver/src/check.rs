//! Checks the feasibility of a batch by the definition, independently of the solvers' bookkeeping.

use super::instance::{Instance, Limit, Timing};

/// Why a batch is not a feasible answer to an instance.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CheckError {
    /// The batch contains an index that the instance does not have.
    #[error("the batch names request {index}, but there are only {items}")]
    NoSuchItem {
        /// The index.
        index: usize,
        /// The number of requests of the instance.
        items: usize,
    },
    /// The batch contains a request twice.
    #[error("the batch names request {index} twice")]
    Twice {
        /// The index.
        index: usize,
    },
    /// The batch exceeds a limit.
    #[error("the batch breaks the {} limit: {used} of {allowed}", limit.name())]
    OverLimit {
        /// The limit.
        limit: Limit,
        /// What the batch uses.
        used: u128,
        /// What it may use.
        allowed: u128,
    },
}

/// Checks a batch against the constraints of `model.md §2` and returns its value.
///
/// # Errors
///
/// The first constraint that the batch violates.
pub fn check(instance: &Instance, chosen: &[usize]) -> Result<u128, CheckError> {
    let mut seen = vec![false; instance.items.len()];
    for &index in chosen {
        let items = instance.items.len();
        let place = seen.get_mut(index).ok_or(CheckError::NoSuchItem { index, items })?;
        if std::mem::replace(place, true) {
            return Err(CheckError::Twice { index });
        }
    }
    let sum = |need: fn(&super::Item) -> u64| -> u128 {
        chosen.iter().map(|&index| u128::from(need(&instance.items[index]))).sum()
    };
    let capacity = &instance.capacity;
    let within = |limit, used: u128, allowed: u64| {
        let allowed = u128::from(allowed);
        if used <= allowed { Ok(()) } else { Err(CheckError::OverLimit { limit, used, allowed }) }
    };
    within(Limit::Uplink, sum(|item| item.uplink), capacity.uplink)?;
    within(Limit::Downlink, sum(|item| item.downlink), capacity.downlink)?;
    within(Limit::Memory, sum(|item| item.memory), capacity.memory)?;
    let compute_us = sum(|item| item.compute_us);
    within(Limit::Compute, compute_us, capacity.compute_us)?;
    for &index in chosen {
        let slack_us = instance.items[index].slack_us;
        let due_us = match &instance.timing {
            Timing::Together => compute_us,
            Timing::ByDeadline { committed } => work_due_by(instance, chosen, committed, slack_us),
        };
        within(Limit::Deadline, due_us, slack_us)?;
    }
    if let Timing::ByDeadline { committed } = &instance.timing {
        for demand in committed {
            let due_us = work_due_by(instance, chosen, committed, demand.slack_us);
            within(Limit::Deadline, due_us, demand.slack_us)?;
        }
    }
    Ok(instance.value_of(chosen))
}

/// Compute time of all chosen and committed work that is due by `slack_us`.
fn work_due_by(instance: &Instance, chosen: &[usize], committed: &[super::Demand], slack_us: u64) -> u128 {
    let chosen = chosen.iter().map(|&index| &instance.items[index]);
    let new = chosen.filter(|item| item.slack_us <= slack_us).map(|item| u128::from(item.compute_us));
    let admitted = committed.iter().filter(|demand| demand.slack_us <= slack_us);
    new.sum::<u128>() + admitted.map(|demand| u128::from(demand.compute_us)).sum::<u128>()
}

#[cfg(test)]
mod tests {
    use super::super::{Capacity, Demand, Item};
    use super::*;

    fn instance(timing: Timing) -> Instance {
        let item =
            |compute_us, slack_us| Item { uplink: 4, downlink: 1, memory: 2, compute_us, slack_us, value: 3 };
        Instance {
            capacity: Capacity { uplink: 9, downlink: 9, memory: 4, compute_us: 100 },
            items: vec![item(10, 15), item(10, 50), item(10, 50)],
            timing,
        }
    }

    #[test]
    fn accepts_a_batch_that_keeps_every_limit() {
        assert_eq!(check(&instance(Timing::Together), &[1, 2]), Ok(6));
        assert_eq!(check(&instance(Timing::Together), &[]), Ok(0));
    }

    #[test]
    fn rejects_what_breaks_a_limit_or_is_not_a_set() {
        let together = instance(Timing::Together);
        let rejected = |chosen: &[usize]| check(&together, chosen).unwrap_err().to_string();
        assert_eq!(rejected(&[0, 1]), "the batch breaks the deadline limit: 20 of 15");
        assert_eq!(rejected(&[0, 1, 2]), "the batch breaks the uplink limit: 12 of 9");
        assert_eq!(rejected(&[1, 1]), "the batch names request 1 twice");
        assert_eq!(rejected(&[3]), "the batch names request 3, but there are only 3");
    }

    #[test]
    fn by_deadline_counts_only_the_work_that_is_due() {
        let committed = vec![Demand { slack_us: 20, compute_us: 5 }];
        assert_eq!(check(&instance(Timing::ByDeadline { committed }), &[0, 1]), Ok(6));
        let committed = vec![Demand { slack_us: 20, compute_us: 15 }];
        let broken = check(&instance(Timing::ByDeadline { committed }), &[0, 1]).unwrap_err();
        assert_eq!(broken.to_string(), "the batch breaks the deadline limit: 25 of 20");
    }
}
