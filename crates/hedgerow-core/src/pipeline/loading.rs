//! Loading of precisions: which ones a plan may use, and when one is loaded.

use super::{Order, Pipeline};
use crate::model::request::RequestId;
use crate::model::time::Instant;
use crate::quantization::{PrecisionIndex, PrecisionLoad};
use crate::scheduler::InFlight;

impl Pipeline {
    /// The precisions in memory, and the one that is being loaded.
    pub(super) fn held_soon(&self) -> Vec<PrecisionIndex> {
        let coming = match self.in_flight {
            Some(InFlight::Load { precision, .. }) => Some(precision),
            Some(InFlight::Step { .. }) | None => None,
        };
        self.loaded.held().into_iter().chain(coming).collect()
    }

    /// The loads that are possible now without unloading the precision of a running request.
    pub(super) fn loads(&self) -> Vec<PrecisionLoad> {
        if self.in_flight.as_ref().is_some_and(InFlight::is_load) {
            return Vec::new();
        }
        let is_used = |index| self.running.iter().any(|running| running.precision == index);
        self.loaded.loads(&self.node, is_used)
    }

    /// The plan's load, once the request that needs it is more urgent than all running requests.
    pub(super) fn load_due(&mut self) -> Option<PrecisionLoad> {
        let plan = self.plan.as_mut()?;
        let needed = plan.load.as_ref()?.precision;
        let first = plan.accepted.iter().find(|planned| planned.precision == needed)?;
        let urgency = self.queue.get(first.id)?.urgency();
        let is_first = self.running.iter().all(|running| urgency < running.request.urgency());
        if is_first { plan.load.take() } else { None }
    }

    /// Orders a load, and the unloads that make room for it.
    pub(super) fn load(&mut self, now: Instant, load: PrecisionLoad, orders: &mut Vec<Order>) {
        let PrecisionLoad { precision, unload, takes } = load;
        for old in unload {
            self.loaded.note_unloaded(old);
            orders.push(Order::Unload(old));
        }
        orders.push(Order::Load(precision));
        self.in_flight = Some(InFlight::Load { precision, until: now + takes });
    }

    /// Notes that a precision is in memory, or could not be loaded: then requests that no other precision suits are
    /// rejected.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        precision: PrecisionIndex,
        is_there: bool,
        orders: &mut Vec<Order>,
    ) {
        self.in_flight = None;
        self.loaded.note_loaded(now, precision, is_there);
        if !is_there {
            self.plan = None;
            let waiting: Vec<RequestId> = self.queue.iter().map(|request| request.id).collect();
            for id in waiting {
                let Some(Err(rejection)) = self.queue.get(id).map(|request| self.check_quality(request))
                else {
                    continue;
                };
                let request = self.queue.leave(id).expect("it was found just now");
                orders.push(self.reject(now, request, rejection));
            }
        }
    }
}
