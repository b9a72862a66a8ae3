//! Starts planned requests and grants them their resources.

use super::{Order, Pipeline};
use crate::allocator::{self, Grant};
use crate::model::request::{Request, RequestId};
use crate::model::running::Running;
use crate::model::settings::Protocol;
use crate::model::time::Instant;
use crate::model::units::{Bytes, Tokens};
use crate::quantization::PrecisionIndex;
use crate::scheduler::{NodeState, Plan, Planned, View};
use std::collections::VecDeque;

impl Pipeline {
    /// Starts planned requests in the plan's order, as far as there is room.
    pub(super) fn start_planned(&mut self, now: Instant, orders: &mut Vec<Order>) {
        if !self.is_time_to_start(now, orders) {
            return;
        }
        let Some(mut plan) = self.plan.take() else { return };
        let mut left = VecDeque::new();
        while let Some(planned) = plan.accepted.pop_front() {
            // A request that has left the queue is skipped.
            let Some(request) = self.queue.get(planned.id) else { continue };
            // A request whose precision is not in memory yet lets later ones start first.
            if !self.loaded.is_held(planned.precision) {
                left.push_back(planned);
                continue;
            }
            let has_place = self.has_place_for(now, request, plan.batch_limit);
            match has_place.then(|| self.start(now, planned, plan.longest_prompt)).flatten() {
                Some(running) => orders.push(Order::Start(running)),
                None => {
                    left.push_back(planned);
                    break;
                }
            }
        }
        left.append(&mut plan.accepted);
        plan.accepted = left;
        self.start_with_credit(now, &mut plan, orders);
        // With epochs, a request that was not started competes for the next one; otherwise it stays planned.
        self.plan = (self.settings.protocol == Protocol::Continuous).then_some(plan);
    }

    /// Whether a request may start: there is a place, and it would take part in the next step; or, where a policy
    /// does not pause requests, there is room in the batch.
    ///
    /// Best-effort requests leave half of the places to requests with deadlines or targets, if any have arrived
    /// within the latest minute, and always those of [`NodeState::best_effort_places`]. Where a share of the time is reserved for best-effort requests, so is the last
    /// place while some wait and none runs.
    fn has_place_for(&self, now: Instant, request: &Request, batch: u32) -> bool {
        let policy = self.settings.policy;
        let places = self.node.max_parallel.min(policy.traits().most_at_once) as usize;
        if !policy.traits().plans_for_all {
            return self.running.len() < places.min(batch as usize);
        }
        let best_effort = self.running.iter().filter(|running| running.request.is_best_effort()).count();
        let reserve = self.settings.best_effort_share > 0.0 && self.queue.iter().any(Request::is_best_effort);
        let allowed = match request.is_best_effort() {
            true if self.demand.is_recent(now) => best_effort < places.div_ceil(2),
            true => best_effort < self.state(now).best_effort_places(),
            false if reserve && best_effort == 0 => self.running.len() + 1 < places || places == 1,
            false => true,
        };
        let ahead = self.running.iter().filter(|running| running.request.urgency() < request.urgency());
        allowed && self.running.len() < places && ahead.count() < batch as usize
    }

    /// Starts one more best-effort request if there is credit and best-effort requests hold less than half of the
    /// places.
    fn start_with_credit(&mut self, now: Instant, plan: &mut Plan, orders: &mut Vec<Order>) {
        let places = self.node.max_parallel as usize;
        let running = self.running.iter().filter(|running| running.request.is_best_effort()).count();
        if self.credit_ns <= 0 || running >= places.div_ceil(2) || self.running.len() >= places {
            return;
        }
        let Some(planned) = plan
            .accepted
            .iter()
            .copied()
            .filter(|planned| self.loaded.is_held(planned.precision))
            .find(|planned| self.queue.get(planned.id).is_some_and(Request::is_best_effort))
        else {
            return;
        };
        if let Some(running) = self.start(now, planned, plan.longest_prompt) {
            orders.push(Order::Start(running));
            plan.accepted.retain(|&accepted| accepted != planned);
        }
    }

    /// Whether the protocol lets requests start now; makes a plan if there is none.
    fn is_time_to_start(&mut self, now: Instant, orders: &mut Vec<Order>) -> bool {
        if self.settings.policy.traits().waits_for_the_batch && !self.running.is_empty() {
            return false;
        }
        match self.settings.protocol {
            Protocol::Continuous => {
                if self.plan.is_none() {
                    self.replan(now, orders);
                }
            }
            Protocol::Epoch { length, .. } => {
                let epoch = now.0 / length.0;
                let is_busy = !self.running.is_empty() || !self.delivering.is_empty();
                if is_busy || self.planned_epoch == Some(epoch) || self.competing(now).is_empty() {
                    return false;
                }
                self.planned_epoch = Some(epoch);
                self.replan(now, orders);
            }
        }
        true
    }

    /// The requests that compete for a place: all that wait; with epochs, those that arrived before this one began.
    pub(super) fn competing(&self, now: Instant) -> Vec<&Request> {
        let mut waiting = self.queue.snapshot();
        if let Protocol::Epoch { length, .. } = self.settings.protocol {
            let began = Instant(now.0 / length.0 * length.0);
            waiting.retain(|request| request.arrived < began);
        }
        waiting
    }

    /// Moves a request from the queue to the node, with its grant; `None` if its grant is not free yet.
    fn start(&mut self, now: Instant, planned: Planned, longest_prompt: Tokens) -> Option<Running> {
        let Planned { id, precision } = planned;
        let request = self.queue.get(id)?;
        let prompt = self.settings.pad(request.prompt_len, longest_prompt);
        let grant = allocator::needs(request, prompt, &self.node);
        if !self.ledger.fits(&grant) || self.takes_memory_of_others(now, request, &grant) {
            return None;
        }
        self.ledger.take(&grant);
        let request = self.queue.leave(id).expect("it was found just now");
        let running = Running {
            precision,
            grant,
            padded_len: prompt,
            started: now,
            ready: now + self.node.uplink_slot(),
            cached: request.cached,
            prefilled: request.cached,
            produced: Tokens::ZERO,
            first_token: None,
            last_token: None,
            request,
        };
        self.loaded.note_use(now, precision);
        self.running.push(running.clone());
        Some(running)
    }

    /// Whether a best-effort request would take KV memory that is left, like places, to requests with deadlines or
    /// targets. One best-effort request at a time may take any part.
    fn takes_memory_of_others(&self, now: Instant, request: &Request, grant: &Grant) -> bool {
        let held: Vec<Bytes> = self
            .running
            .iter()
            .filter(|running| running.request.is_best_effort())
            .map(|running| running.grant.memory)
            .collect();
        if !request.is_best_effort() || held.is_empty() {
            return false;
        }
        let (part, whole) = (self.state(now).best_effort_places() as u64, u64::from(self.node.max_parallel));
        let held: Bytes = held.into_iter().sum();
        (held + grant.memory).0 * whole > self.ledger.whole().memory.0 * part
    }

    /// When to wake up if nothing happens before: when the next prompt arrives, the next answer is delivered, the
    /// next epoch begins (if requests wait), the next waiting request becomes infeasible, or a shutdown ends.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let ready = self.running.iter().map(|running| running.ready).min();
        let arrives = self.delivering.iter().filter_map(|delivery| delivery.arrives).min();
        let epoch = match self.settings.protocol {
            Protocol::Epoch { length, .. } if !self.queue.is_empty() => {
                Some(Instant((now.0 / length.0 + 1) * length.0))
            }
            Protocol::Epoch { .. } | Protocol::Continuous => None,
        };
        // A request that has become infeasible is rejected even if nothing else happens.
        let is_blind = self.settings.policy.traits().is_blind_to_deadlines;
        let infeasible = if is_blind { None } else { self.queue.next_infeasible() };
        [ready, arrives, epoch, infeasible, self.drain_by].into_iter().flatten().filter(|&at| at > now).min()
    }

    /// The node's state, as decisions depend on it.
    pub(super) fn state(&self, now: Instant) -> NodeState<'_> {
        NodeState {
            now,
            running: &self.running,
            in_flight: self.in_flight.as_ref(),
            ledger: &self.ledger,
            node: &self.node,
            settings: &self.settings,
            calibration: &self.calibration,
            demand: &self.demand,
            best_effort_has_credit: self.credit_ns > 0,
            batch: self.batch,
        }
    }

    /// What a plan is asked.
    pub(super) fn view<'a>(
        &'a self,
        now: Instant,
        waiting: &'a [&'a Request],
        admitted: &'a [RequestId],
        held: &'a [PrecisionIndex],
    ) -> View<'a> {
        View { state: self.state(now), waiting, admitted, held, load: None }
    }
}
