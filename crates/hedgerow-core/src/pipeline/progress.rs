//! Progress of the running requests by each step, and their ends.

use super::{Delivery, Order, Pipeline};
use crate::engine::{EndReason, EngineError, Step, StepReport};
use crate::model::request::{Length, Request, RequestId};
use crate::model::running::{Running, load_of, tpot};
use crate::model::settings::{Protocol, Settings};
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::output::{Outcome, Record, Rejection};
use crate::scheduler::InFlight;
use crate::scheduler::output_length::OutputLengthPredictor;

/// The limit of best-effort credit, in nanoseconds: a share is of recent time, not of an hour ago.
const MAX_CREDIT_NS: i64 = 2_000_000_000;

impl Pipeline {
    /// Handles a step's report. Requests that have left since the step was ordered are skipped.
    pub(super) fn take_report(&mut self, now: Instant, report: &StepReport) {
        self.note_cached(report);
        if let Some(InFlight::Step { mut step, .. }) = self.in_flight.take() {
            for chunk in &mut step.prefill {
                let progress = report.progress.iter().find(|progress| progress.request == chunk.request);
                chunk.tokens = progress.map_or(chunk.tokens, |progress| progress.prefilled);
            }
            let load = load_of(&step, &self.running);
            let (node, precision) = (&self.node, &self.node.precisions[step.precision.0]);
            self.calibration
                .note(now, report.elapsed, &load, |load| node.cost.step(&node.model, precision, load));
            self.settle_with_best_effort(&step, report.elapsed);
        }
        let slowdown = self.settings.slowdown_of_steps();
        let mut ended = Vec::new();
        for progress in &report.progress {
            let Some(running) =
                self.running.iter_mut().find(|running| running.request.id == progress.request)
            else {
                continue;
            };
            running.prefilled = running.prefilled + progress.prefilled;
            running.ready = running.ready + report.elapsed * slowdown;
            if progress.produced {
                running.produced = running.produced + Tokens(1);
                expect(&self.output_lengths, &self.settings, &mut running.request, running.produced);
                running.first_token.get_or_insert(now);
                running.last_token = Some(now);
            }
            ended.extend(progress.end.map(|end| (progress.request, end)));
        }
        for (id, end) in &ended {
            let index =
                self.running.iter().position(|running| running.request.id == *id).expect("seen just now");
            let running = self.running.remove(index);
            self.note_length(&running, Some(*end));
            self.delivering.push(Delivery { running, end: *end, arrives: None });
        }
        if !ended.is_empty() {
            self.send_off(now);
            self.plan = None;
        }
    }

    /// Notes how long an answer was that ended for this reason, or that its deadline cut off.
    pub(super) fn note_length(&mut self, running: &Running, end: Option<EndReason>) {
        if running.request.length == Length::Exact {
            return;
        }
        let (limit, produced) = (running.request.max_output, running.produced);
        match end {
            Some(EndReason::Stop) => self.output_lengths.note(limit, produced),
            Some(EndReason::StopText | EndReason::Length) | None => {
                self.output_lengths.note_cut_off(limit, produced);
            }
        }
    }

    /// Updates best-effort credit: while best-effort requests wait or run, their share of each step's time is
    /// credited, and the part that they used is debited.
    fn settle_with_best_effort(&mut self, step: &Step, taken: Span) {
        let share = self.settings.best_effort_share;
        let is_best_effort = |id: &RequestId| {
            self.running.iter().any(|running| running.request.id == *id && running.request.is_best_effort())
        };
        let is_here = self.running.iter().any(|running| running.request.is_best_effort())
            || self.queue.iter().any(Request::is_best_effort);
        if share == 0.0 || !is_here {
            self.credit_ns = 0;
            return;
        }
        let taking_part = step.prefill.iter().map(|chunk| (&chunk.request, chunk.tokens.0));
        let taking_part = taking_part.chain(step.decode.iter().map(|id| (id, 1)));
        let (mut all, mut theirs) = (0, 0);
        for (id, tokens) in taking_part {
            all += tokens;
            theirs += if is_best_effort(id) { tokens } else { 0 };
        }
        let part = f64::from(theirs) / f64::from(all.max(1));
        let due_ns = (share - part) * taken.0 as f64;
        self.credit_ns = (self.credit_ns + due_ns as i64).clamp(-MAX_CREDIT_NS, MAX_CREDIT_NS);
    }

    /// Notes how much of each prompt the engine's cache really held: it may be more or less than expected.
    fn note_cached(&mut self, report: &StepReport) {
        for progress in &report.progress {
            let running = self.running.iter_mut().find(|running| running.request.id == progress.request);
            if let (Some(running), Some(cached)) = (running, progress.cached) {
                (running.cached, running.prefilled) = (cached, cached);
            }
        }
    }

    /// Begins the transmission of complete answers: each by itself, or in an epoch the whole batch together.
    fn send_off(&mut self, now: Instant) {
        if matches!(self.settings.protocol, Protocol::Epoch { .. }) && !self.running.is_empty() {
            return;
        }
        let arrives = now + self.node.downlink_slot();
        for delivery in &mut self.delivering {
            delivery.arrives.get_or_insert(arrives);
        }
    }

    /// Ends the requests whose answers have been transmitted.
    pub(super) fn deliver(&mut self, now: Instant, orders: &mut Vec<Order>) {
        if self.drain_by.is_some_and(|by| by <= now) {
            self.shut_down(now, orders);
        }
        // The rest of an epoch's batch may have been waiting for a request that was cancelled.
        self.send_off(now);
        let is_there = |delivery: &Delivery| delivery.arrives.is_some_and(|at| at <= now);
        while let Some(index) = self.delivering.iter().position(is_there) {
            let Delivery { running, end, arrives } = self.delivering.remove(index);
            let at = arrives.expect("it is there");
            let tpot = tpot(running.first_token, running.last_token, running.produced);
            let is_met = running.request.meets_slo(running.first_token, tpot, at);
            let outcome = if is_met { Outcome::Met(end) } else { Outcome::Late(end) };
            orders.push(self.end(at, running, outcome));
        }
    }

    /// Handles a failed step: if one request is at fault, for example because it could not be opened, it alone fails,
    /// and the next step is composed without it; else all requests of the step fail. The others go on.
    pub(super) fn fail_step(&mut self, now: Instant, error: &EngineError, orders: &mut Vec<Order>) {
        let Some(InFlight::Step { step, .. }) = self.in_flight.take() else { return };
        let mut failed: Vec<RequestId> =
            step.prefill.iter().map(|chunk| chunk.request).chain(step.decode).collect();
        if let Some(at_fault) = error.request().filter(|id| failed.contains(id)) {
            failed = vec![at_fault];
        }
        for id in failed {
            self.fail(now, id, error, orders);
        }
        self.plan = None;
    }

    /// Ends a request that the engine cannot serve.
    pub(super) fn fail(&mut self, now: Instant, id: RequestId, error: &EngineError, orders: &mut Vec<Order>) {
        if let Some(running) = self.running.iter().find(|running| running.request.id == id) {
            self.demand.note_cancelled(id, running.part_done());
            self.cut_off(now, id, Outcome::Failed(error.clone()), orders);
        }
    }

    /// Ends all waiting and running requests at the deadline of the shutdown.
    fn shut_down(&mut self, now: Instant, orders: &mut Vec<Order>) {
        orders.extend(self.queue.drain().map(|request| self.reject(now, request, Rejection::ShuttingDown)));
        while let Some(running) = self.running.first() {
            self.cut_off(now, running.request.id, Outcome::ShutDown, orders);
        }
    }

    /// Frees what a request held and writes its record.
    pub(super) fn end(&mut self, at: Instant, running: Running, outcome: Outcome) -> Order {
        self.ledger.give_back(&running.grant);
        Order::End(Record {
            outcome,
            ended: at,
            started: Some(running.started),
            first_token: running.first_token,
            last_token: running.last_token,
            // A request cut off before its first step has used nothing from the cache.
            cached: if running.prefilled > running.cached { running.cached } else { Tokens::ZERO },
            produced: running.produced,
            precision: Some(running.precision),
            grant: running.grant,
            request: running.request,
        })
    }
}

/// Sets the output length that a request is planned with, given that it has produced `produced` tokens.
pub(super) fn expect(
    lengths: &OutputLengthPredictor,
    settings: &Settings,
    request: &mut Request,
    produced: Tokens,
) {
    let limit = request.max_output;
    let learned = || lengths.expect(limit, produced, settings.confidence);
    request.expected_output = match request.length {
        Length::Exact => limit,
        _ if settings.confidence >= 1.0 => limit,
        Length::Hinted(hint) if hint > produced => hint.min(limit),
        // The expected length changes only when the answer outgrows it.
        Length::Limited | Length::Hinted(_)
            if produced > Tokens::ZERO && produced < request.expected_output =>
        {
            request.expected_output
        }
        Length::Limited | Length::Hinted(_) => learned().unwrap_or(limit),
    };
}
