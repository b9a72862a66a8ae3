//! The simulation loop: takes events from the queue in virtual time, passes them to the core's pipeline and carries
//! out its orders.

use std::collections::BTreeMap;

use hedgerow_core::engine::{Engine as _, GenerationTask, Sampling, Step, TokenId};
use hedgerow_core::node::Node;
use hedgerow_core::output::Record;
use hedgerow_core::quantization::{PrecisionIndex, Residency};
use hedgerow_core::request::RequestId;
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Tokens;
use hedgerow_core::{Event, Order, Pipeline};
use hedgerow_solver::Policy;
use hedgerow_workload::{Line, What};

use crate::arrivals::{Arrival, Arrivals};
use crate::channel_outcomes::ChannelOutcomes;
use crate::engine::SimulatedEngine;
use crate::event_queue::EventQueue;
use crate::invariants;
use crate::scenario::Scenario;
use crate::sink::{Run, Sink};
use crate::slowdown::EngineSlowdown;

/// Number of consecutive wake-ups without effect that counts as a livelock.
const IDLE_WAKES_MAX: u32 = 10_000;

/// A simulation of a node, with a scenario's arrivals or with given ones.
#[derive(Debug)]
pub struct Simulation<I = Arrivals> {
    node: Node,
    policy: Policy,
    arrivals: I,
    events: EventQueue,
    pipeline: Pipeline,
    engine: SimulatedEngine,
    now: Instant,
    /// Requests that have not ended, with the lengths of their answers.
    open: BTreeMap<RequestId, Tokens>,
    /// Applies the true channels that the node does not know exactly.
    channel_outcomes: ChannelOutcomes,
    idle_wakes: u32,
    /// Number of ended requests.
    ended: u64,
    /// The recording of the run, if wanted.
    lines: Option<Vec<Line>>,
    slowdown: EngineSlowdown,
}

impl Simulation {
    /// Prepares the simulation of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        Self::begin(&scenario.node, &scenario.settings, ChannelOutcomes::of(scenario), scenario.arrivals())
            .slowed_by(EngineSlowdown::steady(Factors::both(scenario.knowledge.engine_factor)))
    }
}

impl<I: Iterator<Item = Arrival>> Simulation<I> {
    /// Prepares the simulation of given arrivals, such as those of a recording, on an idle node. They must be in the
    /// order of their notification times, and request ids must be unique.
    pub fn replay(node: &Node, settings: &Settings, arrivals: I) -> Self {
        Self::begin(node, settings, ChannelOutcomes::default(), arrivals)
    }

    fn begin(node: &Node, settings: &Settings, channel_outcomes: ChannelOutcomes, arrivals: I) -> Self {
        let mut simulation = Self {
            arrivals,
            events: EventQueue::default(),
            pipeline: Pipeline::new(node.clone(), settings.clone()),
            engine: SimulatedEngine::new(node),
            now: Instant::START,
            open: BTreeMap::new(),
            channel_outcomes,
            idle_wakes: 0,
            ended: 0,
            lines: None,
            slowdown: EngineSlowdown::steady(Factors::ONE),
            policy: settings.policy,
            node: node.clone(),
        };
        simulation.expect_next_arrival();
        simulation
    }

    /// Sets the engine's slowdown; without it steps take the time of the cost model.
    pub fn slowed_by(self, slowdown: EngineSlowdown) -> Self {
        Self { slowdown, ..self }
    }

    /// Schedules another event besides the arrivals.
    pub fn expect(&mut self, at: Instant, event: Event) {
        self.events.add(at, event);
    }

    /// Runs to the end; returns the run and the lines that a node would record.
    ///
    /// # Panics
    ///
    /// As [`Simulation::run`].
    pub fn run_recorded(mut self) -> (Run, Vec<Line>) {
        self.lines = Some(Vec::new());
        let mut run = Run::default();
        let Ok(()) = self.play(&mut run, |_| {});
        (run, self.lines.unwrap_or_default())
    }

    /// Runs to the end and keeps everything in memory. `progress` is called with the number of ended requests after
    /// each event.
    ///
    /// # Panics
    ///
    /// When an invariant is broken: time decreases, a request ends twice or never, or resources are still held at the
    /// end; in debug builds and this crate's tests also after each event.
    pub fn run(mut self, progress: impl FnMut(u64)) -> Run {
        let mut run = Run::default();
        let Ok(()) = self.play(&mut run, progress);
        run
    }

    /// Runs to the end and streams the results to a sink.
    ///
    /// # Errors
    ///
    /// When the sink returns an error; the simulation stops there.
    ///
    /// # Panics
    ///
    /// As [`Simulation::run`].
    pub fn run_into<S: Sink>(mut self, sink: &mut S, progress: impl FnMut(u64)) -> Result<(), S::Error> {
        self.play(sink, progress)
    }

    fn play<S: Sink>(&mut self, sink: &mut S, mut progress: impl FnMut(u64)) -> Result<(), S::Error> {
        while let Some((at, event)) = self.events.next() {
            self.handle(at, event, sink)?;
            progress(self.ended);
        }
        self.assert_over();
        Ok(())
    }

    fn handle<S: Sink>(&mut self, at: Instant, event: Event, sink: &mut S) -> Result<(), S::Error> {
        assert!(at >= self.now, "time goes back from {:?} to {at:?}", self.now);
        self.now = at;
        let is_wake = event == Event::Woke;
        if matches!(event, Event::Arrived(_)) {
            self.expect_next_arrival();
        }
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at, what: What::Event(event.clone()) });
        }
        sink.decides();
        let orders = self.pipeline.on_event(at, event);
        sink.decided();
        if invariants::ARE_CHECKED {
            self.pipeline.assert_conserved();
            invariants::assert_shares_fit(&orders);
        }
        self.watch_for_livelock(is_wake, &orders);
        orders.into_iter().try_for_each(|order| self.carry_out(order, sink))
    }

    fn carry_out<S: Sink>(&mut self, order: Order, sink: &mut S) -> Result<(), S::Error> {
        match order {
            Order::Start(running) => {
                self.open(&running);
                sink.started(&running)
            }
            Order::Stop(request) => {
                self.engine.close(request);
                Ok(())
            }
            Order::Run(step) => self.step(&step, sink),
            Order::Load(precision) => {
                self.load(precision);
                Ok(())
            }
            // Unloading takes no time.
            Order::Unload(_) => Ok(()),
            Order::End(record) => {
                let record = self.channel_outcomes.deliver(record);
                self.end(record, sink)
            }
            Order::Planned(report) => sink.planned(&report),
            Order::WakeAt(at) => {
                self.events.add(at, Event::Woke);
                Ok(())
            }
        }
    }

    fn open(&mut self, running: &Running) {
        let request = running.request.id;
        self.engine.answer_with(request, self.open[&request]);
        let work = GenerationTask {
            // Only the number of tokens matters here.
            prompt_tokens: vec![TokenId(0); running.padded_len.0 as usize],
            max_output: running.request.max_output,
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            ignore_eos: false,
            cache_prompt: false,
        };
        // A recorded cached prefix is cached in the replay too.
        let opened = self.engine.open(request, work);
        if let Err(error) = opened.and_then(|()| self.engine.skip(request, running.request.cached)) {
            self.events.add(self.now, Event::OpenFailed { request, error });
        }
    }

    /// Runs a step instantly and schedules its report after the step's duration.
    fn step<S: Sink>(&mut self, step: &Step, sink: &mut S) -> Result<(), S::Error> {
        let mut took = Span::ZERO;
        self.engine.slow_down(self.slowdown.at(self.now));
        match self.engine.step(step, &mut |_: hedgerow_core::engine::Emission<'_>| {}) {
            Ok(report) => {
                took = report.elapsed;
                self.events.add(self.now + took, Event::StepDone(report));
            }
            Err(error) => self.events.add(self.now, Event::StepFailed(error)),
        }
        sink.stepped(self.now, took, step)
    }

    /// Loads a precision instantly and schedules the report after the loading time.
    fn load(&mut self, precision: PrecisionIndex) {
        let takes = match self.node.precisions[precision.0].residency {
            Residency::OnDemand { load, .. } => load,
            Residency::Always => Span::ZERO,
        };
        self.events.add(self.now + takes, Event::Loaded { precision, is_there: true });
    }

    fn end<S: Sink>(&mut self, record: Record, sink: &mut S) -> Result<(), S::Error> {
        let answer = self.open.remove(&record.request.id);
        let answer = answer.unwrap_or_else(|| panic!("{} ends twice", record.request.id));
        if invariants::ARE_CHECKED {
            invariants::assert_record(&record, answer, &self.node);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at: self.now, what: What::End(Box::new(record.clone())) });
        }
        self.ended += 1;
        sink.ended(record)
    }

    /// Schedules the next arrival: one at a time, so that the queue stays small.
    fn expect_next_arrival(&mut self) {
        let Some(arrival) = self.arrivals.next() else { return };
        let id = arrival.request.id;
        self.open.insert(id, arrival.answer);
        self.channel_outcomes.expect(&arrival);
        if let Some(cancels_at) = arrival.cancels_at {
            self.events.add(cancels_at, Event::Cancelled(id));
        }
        self.events.add(arrival.notified, Event::Arrived(arrival.request));
    }

    fn watch_for_livelock(&mut self, is_wake: bool, orders: &[Order]) {
        let is_idle = is_wake
            && self.events.has_only_wakes()
            && orders.iter().all(|order| matches!(order, Order::WakeAt(_) | Order::Planned(_)));
        self.idle_wakes = if is_idle { self.idle_wakes + 1 } else { 0 };
        let first = self.open.keys().next();
        assert!(
            self.idle_wakes < IDLE_WAKES_MAX,
            "livelock at {:?} under {}: {first:?} never ends",
            self.now,
            self.policy
        );
    }

    fn assert_over(&self) {
        let Self { pipeline, engine, open, now, .. } = self;
        assert!(
            open.is_empty(),
            "deadlock at {now:?} under {}: no event is pending, but {} requests have not ended, \
             the first is {:?}; {} wait and {} run",
            self.policy,
            open.len(),
            open.keys().next(),
            pipeline.queue_len(),
            pipeline.running().len(),
        );
        assert!(pipeline.is_idle(), "every request has ended, but the pipeline is not idle");
        assert_eq!(engine.kv_used(), Tokens::ZERO, "the engine still holds tokens");
        pipeline.assert_conserved();
    }
}
