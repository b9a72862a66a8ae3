//! Which precisions are in memory: what a plan may count on, and what is loaded when.

use super::*;
use crate::quantization::PrecisionLoad;

impl Pipeline {
    /// The precisions in memory, and the one that is being loaded.
    pub(super) fn held_soon(&self) -> Vec<PrecisionIndex> {
        let coming = match self.in_flight {
            Some(InFlight::Load { precision, .. }) => Some(precision),
            Some(InFlight::Step { .. }) | None => None,
        };
        self.residents.held().into_iter().chain(coming).collect()
    }

    /// What could be loaded now without taking a precision from anybody who runs.
    pub(super) fn loads(&self) -> Vec<PrecisionLoad> {
        if self.in_flight.as_ref().is_some_and(InFlight::is_load) {
            return Vec::new();
        }
        let is_used = |index| self.running.iter().any(|running| running.precision == index);
        self.residents.loads(&self.node, is_used)
    }

    /// What is to be loaded now: what the plan says, once nobody who runs is more urgent than whoever needs it.
    pub(super) fn load_due(&mut self) -> Option<PrecisionLoad> {
        let plan = self.plan.as_mut()?;
        let needed = plan.load.as_ref()?.precision;
        let first = plan.accepted.iter().find(|planned| planned.precision == needed)?;
        let urgency = self.queue.get(first.id)?.urgency();
        let is_first = self.running.iter().all(|running| urgency < running.request.urgency());
        if is_first { plan.load.take() } else { None }
    }

    /// Changes what is in memory.
    pub(super) fn load(&mut self, now: Instant, load: PrecisionLoad, orders: &mut Vec<Order>) {
        let PrecisionLoad { precision, unload, takes } = load;
        for old in unload {
            self.residents.note_unloaded(old);
            orders.push(Order::Unload(old));
        }
        orders.push(Order::Load(precision));
        self.in_flight = Some(InFlight::Load { precision, until: now + takes });
    }

    /// Takes in that a precision is in memory, or cannot be: then whom no other suits is told.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        precision: PrecisionIndex,
        is_there: bool,
        orders: &mut Vec<Order>,
    ) {
        self.in_flight = None;
        self.residents.note_loaded(now, precision, is_there);
        if !is_there {
            self.plan = None;
            let waiting: Vec<RequestId> = self.queue.iter().map(|request| request.id).collect();
            for id in waiting {
                let Some(Err(rejection)) = self.queue.get(id).map(|request| self.check_quality(request))
                else {
                    continue;
                };
                let request = self.queue.leave(id).expect("it was found just now");
                orders.push(admission::reject(now, request, rejection));
            }
        }
    }
}
