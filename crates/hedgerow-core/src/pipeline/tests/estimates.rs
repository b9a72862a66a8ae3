//! Online estimates: what they do to later admissions.

use hedgerow_solver::Policy;

use super::super::scripted::{STEP, node, settings};
use super::super::{Event, Order, Pipeline};
use super::request;
use crate::engine::{EndReason, PrefillChunk, Progress, Step, StepReport};
use crate::model::request::{Request, RequestId, Tenant};
use crate::model::settings::Settings;
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::output::{AdmissionFailure, Outcome, Record, Rejection};

/// A pipeline, its time, and an engine whose steps take the time and whose answers end as a test sets.
struct Node {
    pipeline: Pipeline,
    now: Instant,
    step: Option<Step>,
    ended: Vec<Record>,
    /// Why each answer ends with its next token; `None` if it goes on to its limit.
    end: Option<EndReason>,
}

impl Node {
    fn new() -> Self {
        Self::with(settings(Policy::Exact))
    }

    fn with(settings: Settings) -> Self {
        let pipeline = Pipeline::new(node(), settings);
        Self { pipeline, now: Instant::START, step: None, ended: Vec::new(), end: None }
    }

    fn event(&mut self, event: Event) {
        for order in self.pipeline.on_event(self.now, event) {
            match order {
                Order::Run(step) => self.step = Some(step),
                Order::End(record) => self.ended.push(record),
                Order::Start(_)
                | Order::Stop(_)
                | Order::Load(_)
                | Order::Unload(_)
                | Order::Planned(_)
                | Order::WakeAt(_) => {}
            }
        }
    }

    /// A request of 10 prompt and `max_output` tokens arrives; returns whether it was admitted.
    fn arrive(&mut self, id: u64, max_output: u32, deadline: Span) -> bool {
        self.arrive_with(id, max_output, deadline, 1)
    }

    /// The same, with a value.
    fn arrive_with(&mut self, id: u64, max_output: u32, deadline: Span, value: u32) -> bool {
        self.arrive_as(id, max_output, deadline, value, None)
    }

    /// The same, of a tenant of weight 1.
    fn arrive_as(
        &mut self,
        id: u64,
        max_output: u32,
        deadline: Span,
        value: u32,
        tenant: Option<u32>,
    ) -> bool {
        let arrived = self.now;
        let (deadline, tenant) = (Some(arrived + deadline), tenant.map(|id| Tenant { id, weight: 1 }));
        let request = Request { arrived, deadline, value, tenant, ..request(id, 0, max_output, None) };
        self.event(Event::Arrived(request));
        let is_rejected = |record: &Record| matches!(record.outcome, Outcome::Rejected(_));
        !self.ended.iter().any(|record| record.request.id == RequestId(id) && is_rejected(record))
    }

    /// Runs the ordered step in the time given.
    fn step(&mut self, takes: Span) {
        let step = self.step.take().expect("a step was ordered");
        self.now = self.now + takes;
        let produced = |request| {
            let running = self.pipeline.running().iter().find(|running| running.request.id == request);
            let end = running
                .filter(|running| running.produced + Tokens(1) == running.request.max_output)
                .map(|_| EndReason::Length);
            (true, self.end.or(end))
        };
        let chunks = step.prefill.iter().map(|&PrefillChunk { request, tokens }| (request, tokens));
        let decodes = step.decode.iter().map(|&request| (request, Tokens::ZERO));
        let progress = chunks.chain(decodes).map(|(request, prefilled)| {
            let (produced, end) = produced(request);
            let cached = (prefilled > Tokens::ZERO).then_some(Tokens::ZERO);
            Progress { request, prefilled, cached, produced, end }
        });
        let progress = progress.collect();
        self.event(Event::StepDone(StepReport { progress, elapsed: takes, kv_used: Tokens::ZERO }));
    }

    /// Runs all ordered steps, each in the time given; returns their number.
    fn run(&mut self, takes: Span) -> u32 {
        let mut steps = 0;
        while self.step.is_some() {
            self.step(takes);
            steps += 1;
        }
        steps
    }
}

const SECOND: Span = Span::from_millis(1_000);

#[test]
fn after_an_interrupted_step_an_idle_node_admits_what_it_admitted_before() {
    let mut node = Node::new();
    let tight = STEP * 6;
    assert!(node.arrive(1, 5, tight));
    assert_eq!(node.run(STEP), 5);
    assert!(node.arrive(2, 5, tight));
    node.step(STEP);
    node.step(Span::from_millis(20_000));
    assert_eq!(node.ended.last().map(|record| &record.outcome), Some(&Outcome::Expired));
    assert!(node.arrive(3, 5, tight), "{:?}", node.ended.last());
    node.run(STEP);
    assert!(node.ended.last().is_some_and(Record::is_met));
}

#[test]
fn an_idle_node_tries_at_intervals_what_the_profile_alone_would_admit() {
    let mut node = Node::new();
    for id in 0..10 {
        node.event(Event::Arrived(Request { arrived: node.now, ..request(id, 0, 20, None) }));
        node.run(STEP * 3);
    }
    assert!(node.pipeline.calibration().factor() > 2.5, "learned to be slow");
    let tight = STEP * 8;
    assert!(node.arrive(20, 5, tight), "a probe");
    node.run(STEP * 3);
    assert!(!node.ended.last().is_some_and(Record::is_met), "the engine is slow indeed");
    node.now = node.now + SECOND;
    assert!(!node.arrive(21, 5, tight), "which was tried a second ago");
    node.now = node.now + SECOND * 10;
    assert!(node.arrive(22, 5, tight), "it may be fast again");
    node.run(STEP);
    assert!(node.ended.last().is_some_and(Record::is_met), "and it is");
}

#[test]
fn refused_and_cancelled_requests_are_no_demand() {
    let admitted = |is_attacked: bool| {
        let mut node = Node::new();
        (1..=4).for_each(|id| assert!(node.arrive(id, 90, SECOND * 10)));
        // From now on all places are taken.
        node.step(STEP);
        if is_attacked {
            for id in 100..300 {
                let is_refused = id < 200;
                let deadline = if is_refused { STEP * 91 } else { SECOND * 10 };
                assert_eq!(node.arrive_with(id, 90, deadline, 1_000), !is_refused);
                node.event(Event::Cancelled(RequestId(id)));
            }
        }
        node.run(STEP);
        if is_attacked {
            for id in 300..400 {
                assert!(node.arrive_with(id, 90, SECOND * 10, 1_000), "the node is idle");
                node.event(Event::Cancelled(RequestId(id)));
                node.step(STEP);
            }
        }
        node.now = Instant::START + SECOND * 5;
        let deadlines = [STEP * 95, STEP * 100, STEP * 120, STEP * 200];
        (0..4).map(|index| node.arrive(1_000 + index, 60, deadlines[index as usize])).collect::<Vec<_>>()
    };
    assert_eq!(admitted(false), [true; 4]);
    assert_eq!(admitted(true), [true; 4]);
}

#[test]
fn an_idle_node_refuses_nothing_for_expected_demand() {
    let mut node = Node::new();
    for id in 0..160 {
        node.arrive(id, 30, SECOND);
        (0..5).for_each(|_| node.step(STEP));
    }
    let long = |node: &mut Node, id| node.arrive(id, 90, SECOND * 2);
    assert!(!long(&mut node, 1_000), "above capacity, capacity is reserved for short requests");
    let refused = node.ended.last().map(|record| record.outcome.clone());
    let Some(Outcome::Rejected(Rejection::DeadlineUnreachable { why, .. })) = refused else { panic!() };
    assert!(matches!(why, AdmissionFailure::Reserved { .. }), "{why}");
    node.run(STEP);
    assert!(long(&mut node, 1_001), "{:?}", node.ended.last());
}

#[test]
fn answers_that_were_cut_off_make_no_later_plan_shorter() {
    let expected = |end: Option<EndReason>, max_output: u32| {
        let mut node = Node::with(Settings { confidence: 0.9, ..settings(Policy::Exact) });
        for id in 0..264 {
            node.end = end;
            assert!(node.arrive(id, max_output, SECOND));
            node.run(STEP);
        }
        node.arrive(1_000, 60, SECOND);
        node.pipeline.running()[0].request.expected_output
    };
    assert_eq!(expected(None, 1), Tokens(60), "by their limit");
    assert_eq!(expected(Some(EndReason::StopText), 60), Tokens(60), "by a stop text");
    assert_eq!(expected(Some(EndReason::Stop), 60), Tokens(1), "by the model");
}

#[test]
fn a_flooding_tenant_takes_from_another_no_more_than_its_share() {
    // Every 300 ms tenant 1 asks for 20 tokens within 600 ms, and tenant 2 for as many at each step.
    let attainment = |floods: bool, tells_tenants: bool| {
        let mut node = Node::with(Settings { queue_capacity: 512, ..settings(Policy::Exact) });
        let (mut asked, mut admitted) = (0, 0);
        for tick in 0..6_000_u64 {
            let tenant = |id| tells_tenants.then_some(id);
            if tick % 30 == 0 {
                let is_admitted = node.arrive_as(2 * tick, 20, Span::from_millis(600), 1, tenant(1));
                // The first seconds teach what the demand is.
                asked += u32::from(tick >= 1_000);
                admitted += u32::from(tick >= 1_000 && is_admitted);
            }
            if floods {
                node.arrive_as(2 * tick + 1, 20, Span::from_millis(600), 1, tenant(2));
            }
            match node.step {
                Some(_) => node.step(STEP),
                None => node.now = node.now + STEP,
            }
        }
        f64::from(admitted) / f64::from(asked)
    };
    assert_eq!(attainment(false, true), 1.0);
    let (apart, together) = (attainment(true, true), attainment(true, false));
    assert!(apart > 0.95 && apart > together + 0.1, "{apart} by tenants, {together} without");
}
