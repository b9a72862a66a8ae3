//! Admission control: which requests enter the queue, which are rejected at once, and which leave before their end.

use super::{Order, Pipeline, progress};
use crate::allocator;
use crate::model::node::Node;
use crate::model::request::{Request, RequestId};
use crate::model::settings::Protocol;
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::output::{Outcome, Record, Rejection, Target};
use crate::quantization::{self, PrecisionIndex, Residency};
use crate::scheduler::calibration::StepTimeCalibration;
use crate::scheduler::{self, AdmissionFailure, NodeState, Plan, View};

/// The least time between two probes: an engine that is really slow makes no more than one request late in this time.
const PROBE_INTERVAL: Span = Span(10_000_000_000);

impl Pipeline {
    /// Puts an arriving request into the queue, or rejects it at once if it cannot be served.
    pub(super) fn admit(&mut self, now: Instant, mut request: Request, orders: &mut Vec<Order>) {
        self.calibration.forget(now);
        progress::expect(&self.output_lengths, &self.settings, &mut request, Tokens::ZERO);
        if let Err(rejection) = self.check_arrival(now, &request) {
            orders.push(self.reject(now, request, rejection));
            return;
        }
        if !request.is_best_effort() {
            let work = scheduler::least_work(&request, &self.node, &self.calibration);
            self.demand.note(now, &request, work);
        }
        // Load times are not counted: the load may have begun already.
        let fastest =
            self.fastest_by(&request, |precision| scheduler::time_alone(&request, &self.node, precision));
        let latest_start = request.deadline.map(|deadline| Instant(deadline.0.saturating_sub(fastest.0)));
        if let Err(full) = self.queue.enter(request.clone(), latest_start) {
            let retry_after = self.time_to_drain(now);
            let rejection = Rejection::QueueFull { capacity: full.capacity, retry_after };
            orders.push(self.reject(now, request, rejection));
            return;
        }
        if self.settings.protocol == Protocol::Continuous {
            self.replan(now, orders);
        }
    }

    /// Checks a request by itself, independently of other requests.
    fn check_arrival(&self, now: Instant, request: &Request) -> Result<(), Rejection> {
        let node = &self.node;
        if self.drain_by.is_some() {
            return Err(Rejection::ShuttingDown);
        }
        let needed = request.max_tokens();
        if needed > node.context {
            return Err(Rejection::ContextExceeded { needed, context: node.context });
        }
        self.check_quality(request)?;
        let prompt = self.settings.pad(request.prompt_len, request.prompt_len);
        let needs = allocator::needs(request, prompt, node);
        if !self.ledger.could_ever_fit(&needs) {
            return Err(if needs.memory > self.ledger.whole().memory {
                Rejection::MemoryExceeded { needed: needs.memory, available: self.ledger.whole().memory }
            } else if needs.uplink > self.ledger.whole().uplink {
                Rejection::BandExceeded { limit: hedgerow_solver::Limit::Uplink }
            } else {
                Rejection::BandExceeded { limit: hedgerow_solver::Limit::Downlink }
            });
        }
        let fastest = self.fastest(request);
        self.check_slot(request)?;
        if let Some(deadline) = request.deadline
            && deadline.since(now) < fastest
            && !self.settings.policy.traits().is_blind_to_deadlines
        {
            let deadline = deadline.since(request.arrived);
            return Err(Rejection::DeadlineInfeasible { deadline, fastest });
        }
        self.check_targets(request)
    }

    /// Checks whether a batch of this request alone fits an epoch's compute slot, at the engine's current speed.
    fn check_slot(&self, request: &Request) -> Result<(), Rejection> {
        let Protocol::Epoch { compute_slot: slot, .. } = self.settings.protocol else { return Ok(()) };
        let Self { node, settings, calibration, .. } = self;
        let needed = self.fastest_by(request, |precision| {
            scheduler::slot_needed(request, node, settings, calibration, precision)
        });
        // Plans count whole microseconds.
        if needed.as_micros_ceil() > slot.as_micros_floor() {
            return Err(Rejection::ComputeExceeded { needed, slot });
        }
        Ok(())
    }

    /// Checks whether a usable precision suits a request.
    pub(super) fn check_quality(&self, request: &Request) -> Result<(), Rejection> {
        let is_usable = |index| self.loaded.is_usable(index);
        quantization::reachable(&self.node.precisions, is_usable, request).map_err(|best| match best {
            Some(best) => Rejection::QualityInfeasible { floor: request.min_quality, best },
            None => Rejection::PrecisionUnavailable,
        })
    }

    /// Checks whether an idle node meets a request's TTFT and TPOT targets.
    fn check_targets(&self, request: &Request) -> Result<(), Rejection> {
        for (target, asked) in [(Target::Ttft, request.ttft), (Target::Tpot, request.tpot)] {
            let Some(asked) = asked else { continue };
            let fastest = self.fastest_by(request, |precision| {
                let Node { cost, model, precisions, prefill_chunk, .. } = &self.node;
                let precision = &precisions[precision.0];
                match target {
                    Target::Ttft => {
                        cost.prefill(model, precision, request.prompt_len, Tokens::ZERO, *prefill_chunk)
                    }
                    Target::Tpot => cost.decode(model, precision, 1, request.prompt_len),
                }
            });
            if asked < fastest && !self.settings.policy.traits().is_blind_to_deadlines {
                return Err(Rejection::TargetInfeasible { target, asked, fastest });
            }
        }
        Ok(())
    }

    /// The shortest time in which an idle node could serve a request, over the precisions that suit it, including the
    /// load time of a precision that is not in memory.
    fn fastest(&self, request: &Request) -> Span {
        self.fastest_by(request, |precision| {
            let alone = scheduler::time_alone(request, &self.node, precision);
            match self.node.precisions[precision.0].residency {
                Residency::OnDemand { load, .. } if !self.loaded.is_held(precision) => load + alone,
                Residency::OnDemand { .. } | Residency::Always => alone,
            }
        })
    }

    /// The minimum of `time` over the precisions that suit a request.
    fn fastest_by(&self, request: &Request, time: impl Fn(PrecisionIndex) -> Span) -> Span {
        quantization::fastest_first(&self.node.precisions)
            .into_iter()
            .filter(|&precision| quantization::suits(&self.node.precisions, precision, request))
            .map(time)
            .min()
            .unwrap_or(Span::MAX)
    }

    /// Plans for all waiting requests; in continuous batching, the ones left out are rejected at once.
    pub(super) fn replan(&mut self, now: Instant, orders: &mut Vec<Order>) {
        let waiting = self.competing(now);
        let admitted = self.queue.admitted();
        let held = self.held_soon();
        let loads = self.loads();
        let view = self.view(now, &waiting, &admitted, &held);
        let plan = scheduler::choose(&view, &loads, self.settings.node_limit);
        let is_final =
            self.settings.protocol == Protocol::Continuous && self.settings.policy.traits().plans_for_all;
        let probe = if is_final { self.probe(&view, &plan) } else { None };
        let probed = probe.as_ref().map(|_| now);
        let plan = probe.unwrap_or(plan);
        orders.push(Order::Planned(plan.report));
        if is_final {
            let left_out: Vec<(RequestId, AdmissionFailure)> = waiting
                .iter()
                .filter(|request| !plan.accepts(request.id))
                // A best-effort request waits until the precision that it needs can be loaded.
                .filter(|request| !request.is_best_effort())
                .map(|request| (request.id, scheduler::admission_failure(&view, &plan, request)))
                .collect();
            self.reject_left_out(now, &left_out, plan.report.retry_after, orders);
            plan.accepted.iter().for_each(|planned| self.queue.note_admitted(planned.id));
        } else {
            self.reject_never_fitting(now, &plan, orders);
        }
        self.batch = plan.batch_limit;
        self.plan = Some(plan);
        self.probed = probed.or(self.probed);
    }

    /// A plan by the profile alone, where an idle node would refuse its only request because the engine was slow: a
    /// node that refuses everything would not learn that the engine is fast again.
    fn probe(&self, view: &View<'_>, plan: &Plan) -> Option<Plan> {
        let is_idle = self.running.is_empty() && self.in_flight.is_none() && view.waiting.len() == 1;
        let is_due = self.probed.is_none_or(|at| view.state.now.since(at) >= PROBE_INTERVAL);
        if !is_idle || !is_due || !plan.accepted.is_empty() {
            return None;
        }
        let by_profile = StepTimeCalibration::default();
        let view = View { state: NodeState { calibration: &by_profile, ..view.state }, ..*view };
        let plan = scheduler::choose(&view, &[], self.settings.node_limit);
        (!plan.accepted.is_empty()).then_some(plan)
    }

    /// Rejects requests that a plan leaves out and that no longer fit any epoch, because the engine has become slower
    /// since their arrival: without a deadline they would wait for ever.
    fn reject_never_fitting(&mut self, now: Instant, plan: &Plan, orders: &mut Vec<Order>) {
        let left_out = self.competing(now).into_iter().filter(|request| !plan.accepts(request.id));
        let refused = left_out.filter_map(|request| Some((request.id, self.check_slot(request).err()?)));
        for (id, rejection) in refused.collect::<Vec<_>>() {
            orders.extend(self.queue.leave(id).map(|request| self.reject(now, request, rejection)));
        }
    }

    /// Rejects the given requests, each with the reason why it cannot meet its deadline.
    fn reject_left_out(
        &mut self,
        now: Instant,
        left_out: &[(RequestId, AdmissionFailure)],
        retry_after: Span,
        orders: &mut Vec<Order>,
    ) {
        for &(id, why) in left_out {
            if let Some(request) = self.queue.leave(id) {
                orders.push(self.reject(now, request, Rejection::DeadlineUnreachable { why, retry_after }));
            }
        }
    }

    /// Ends the requests that can no longer meet their deadline: waiting ones before they use any resource, and
    /// running ones so that they stop using them.
    pub(super) fn expire(&mut self, now: Instant, orders: &mut Vec<Order>) {
        if self.settings.policy.traits().is_blind_to_deadlines {
            return;
        }
        let late = self.queue.infeasible(now);
        if !late.is_empty() {
            let late: Vec<_> = late.into_iter().map(|id| (id, AdmissionFailure::RanOut)).collect();
            self.reject_left_out(now, &late, self.time_to_drain(now), orders);
        }
        let on_the_air = self.node.downlink_slot();
        let expired: Vec<RequestId> = self
            .running
            .iter()
            .filter(|running| !running.request.is_in_time(now + on_the_air))
            .map(|running| running.request.id)
            .collect();
        if expired.is_empty() {
            return;
        }
        for id in expired {
            self.cut_off(now, id, Outcome::Expired, orders);
        }
        // The rest of an epoch's batch may have been waiting for them.
        self.deliver(now, orders);
    }

    /// Cancels a request, whether it waits, runs or is being delivered.
    pub(super) fn cancel(&mut self, now: Instant, id: RequestId, orders: &mut Vec<Order>) {
        if let Some(request) = self.queue.leave(id) {
            self.demand.note_cancelled(id, 0.0);
            orders.push(Order::End(Record::unserved(request, Outcome::Cancelled, now)));
        } else if let Some(running) = self.running.iter().find(|running| running.request.id == id) {
            self.demand.note_cancelled(id, running.part_done());
            self.cut_off(now, id, Outcome::Cancelled, orders);
        } else if let Some(index) =
            self.delivering.iter().position(|delivery| delivery.running.request.id == id)
        {
            let delivery = self.delivering.remove(index);
            orders.push(self.end(now, delivery.running, Outcome::Cancelled));
        } else {
            return;
        }
        if self.settings.protocol == Protocol::Continuous {
            // The next plan may start another request in its place; none is left out because of it.
            self.plan = None;
        }
    }

    /// Stops a running request before its end.
    pub(super) fn cut_off(&mut self, now: Instant, id: RequestId, outcome: Outcome, orders: &mut Vec<Order>) {
        let index = self.running.iter().position(|running| running.request.id == id).expect("it runs");
        let running = self.running.remove(index);
        if outcome == Outcome::Expired {
            self.note_length(&running, None);
        }
        orders.push(Order::Stop(id));
        orders.push(self.end(now, running, outcome));
    }

    /// Begins the shutdown: no request is admitted any more. Waiting requests are rejected at once unless a plan
    /// shows that they end in time; running ones that have not ended are cut off at `by`.
    pub(super) fn drain(&mut self, now: Instant, by: Instant, orders: &mut Vec<Order>) {
        self.drain_by = Some(by);
        if self.settings.protocol == Protocol::Continuous && self.settings.policy.traits().plans_for_all {
            self.queue.tighten_deadlines(by);
            self.replan(now, orders);
        } else {
            orders
                .extend(self.queue.drain().map(|request| self.reject(now, request, Rejection::ShuttingDown)));
        }
        orders.push(Order::WakeAt(by));
    }

    /// The suggested retry time of a rejected request: how long until the running requests will have ended.
    fn time_to_drain(&self, now: Instant) -> Span {
        let held = self.held_soon();
        scheduler::choose(&self.view(now, &[], &[], &held), &[], 0).report.retry_after
    }

    /// The order that ends a request with a rejection.
    pub(super) fn reject(&mut self, now: Instant, request: Request, rejection: Rejection) -> Order {
        self.demand.note_refused(request.id);
        Order::End(Record::unserved(request, Outcome::Rejected(rejection), now))
    }
}
