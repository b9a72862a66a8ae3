//! From a plan to running requests.

use std::collections::VecDeque;

use super::*;

impl Pipeline {
    /// Starts whom the plan says, as far as there is room.
    pub(super) fn start_planned(&mut self, now: Instant, orders: &mut Vec<Order>) {
        if !self.is_time_to_start(now, orders) {
            return;
        }
        let Some(mut plan) = self.plan.take() else { return };
        let mut left = VecDeque::new();
        while let Some(planned) = plan.accepted.pop_front() {
            // Who has left is passed over.
            let Some(request) = self.queue.get(planned.id) else { continue };
            // Who needs what is not there yet lets others go first.
            if !self.residents.is_held(planned.precision) {
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
        self.start_owed(now, &mut plan, orders);
        // In epochs, who was not started competes for the next; else it stays planned.
        self.plan = (self.settings.protocol == Protocol::Continuous).then_some(plan);
    }

    /// Whether a request may start: there is a place, and it would take part in a step, or wherever nobody
    /// pauses there is room in the batch.
    ///
    /// Those who name no time leave half of the places to callers who do, if any have come lately; and while
    /// a share is kept for them, the last place is theirs.
    fn has_place_for(&self, now: Instant, request: &Request, batch: u32) -> bool {
        let policy = self.settings.policy;
        let places = self.node.max_parallel.min(policy.most_at_once()) as usize;
        if !policy.plans_for_all() {
            return self.running.len() < places.min(batch as usize);
        }
        let best_effort = self.running.iter().filter(|running| running.request.is_best_effort()).count();
        let is_kept = self.settings.best_effort_share > 0.0 && self.queue.iter().any(Request::is_best_effort);
        let allowed = match request.is_best_effort() {
            true if self.demand.is_recent(now) => best_effort < places.div_ceil(2),
            true => true,
            false if is_kept && best_effort == 0 => self.running.len() + 1 < places || places == 1,
            false => true,
        };
        let ahead = self.running.iter().filter(|running| running.request.urgency() < request.urgency());
        allowed && self.running.len() < places && ahead.count() < batch as usize
    }

    /// Starts one more of those who name no time when they are owed more than those who run take: up to half
    /// of the places.
    fn start_owed(&mut self, now: Instant, plan: &mut Plan, orders: &mut Vec<Order>) {
        let places = self.node.max_parallel as usize;
        let running = self.running.iter().filter(|running| running.request.is_best_effort()).count();
        if self.owed_ns <= 0 || running >= places.div_ceil(2) || self.running.len() >= places {
            return;
        }
        let Some(planned) = plan
            .accepted
            .iter()
            .copied()
            .filter(|planned| self.residents.is_held(planned.precision))
            .find(|planned| self.queue.get(planned.id).is_some_and(Request::is_best_effort))
        else {
            return;
        };
        if let Some(running) = self.start(now, planned, plan.longest_prompt) {
            orders.push(Order::Start(running));
            plan.accepted.retain(|&accepted| accepted != planned);
        }
    }

    /// Whether the protocol lets anybody start now; makes a plan if there is none.
    fn is_time_to_start(&mut self, now: Instant, orders: &mut Vec<Order>) -> bool {
        if self.settings.policy.waits_for_the_batch() && !self.running.is_empty() {
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

    /// Who competes for a place: everybody who waits; in epochs, who came before this one began.
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
        let prompt = self.settings.pad(request.prompt, longest_prompt);
        let grant = allocator::needs(request, prompt, &self.node);
        if !self.ledger.fits(&grant) {
            return None;
        }
        self.ledger.take(&grant);
        let request = self.queue.leave(id).expect("it was found just now");
        let running = Running {
            precision,
            grant,
            prompt,
            started: now,
            ready: now + self.node.uplink_slot(),
            cached: request.cached,
            prefilled: request.cached,
            produced: Tokens::ZERO,
            first_token: None,
            last_token: None,
            request,
        };
        self.residents.note_use(now, precision);
        self.running.push(running.clone());
        Some(running)
    }

    /// When to be woken if nothing happens before: the next prompt to be here, the next answer to have
    /// arrived, the next epoch if anybody waits for it, the next who is too late, or the end of a shutdown.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let ready = self.running.iter().map(|running| running.ready).min();
        let arrives = self.delivering.iter().filter_map(|delivery| delivery.arrives).min();
        let epoch = match self.settings.protocol {
            Protocol::Epoch { length, .. } if !self.queue.is_empty() => {
                Some(Instant((now.0 / length.0 + 1) * length.0))
            }
            Protocol::Epoch { .. } | Protocol::Continuous => None,
        };
        // Nobody may be left waiting past the point of no return merely because nothing else happens.
        let is_blind = self.settings.policy.is_blind_to_deadlines();
        let hopeless = if is_blind { None } else { self.queue.next_hopeless() };
        [ready, arrives, epoch, hopeless, self.drain_by].into_iter().flatten().filter(|&at| at > now).min()
    }

    /// What the scheduler sees.
    pub(super) fn view<'a>(
        &'a self,
        now: Instant,
        waiting: &'a [&'a Request],
        promised: &'a [RequestId],
        held: &'a [PrecisionIndex],
    ) -> View<'a> {
        View {
            now,
            waiting,
            promised,
            held,
            load: None,
            running: &self.running,
            in_flight: self.in_flight.as_ref(),
            ledger: &self.ledger,
            node: &self.node,
            settings: &self.settings,
            calibration: &self.calibration,
            demand: &self.demand,
            owes_best_effort: self.owed_ns > 0,
            batch: self.batch,
        }
    }
}
