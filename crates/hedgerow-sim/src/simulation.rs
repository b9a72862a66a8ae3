//! Virtual time: events are taken from a queue, told to the core's pipeline, and what the
//! pipeline orders is done.

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

use crate::arrivals::{Arrival, Arrivals};
use crate::channel_outcomes::ChannelOutcomes;
use crate::engine::SimulatedEngine;
use crate::event_log::{Line, What};
use crate::event_queue::EventQueue;
use crate::invariants;
use crate::scenario::Scenario;
use crate::sink::{Run, Sink};
use crate::slowdown::EngineSlowdown;

/// Wake-ups in a row that change nothing, after which those who wait are taken to wait for ever.
const IDLE_WAKES_MAX: u32 = 10_000;

/// A node being played, with a scenario's arrivals or somebody else's.
#[derive(Debug)]
pub struct Simulation<I = Arrivals> {
    node: Node,
    policy: Policy,
    arrivals: I,
    events: EventQueue,
    pipeline: Pipeline,
    engine: SimulatedEngine,
    now: Instant,
    /// Who has arrived and not ended, and the tokens of their answers.
    here: BTreeMap<RequestId, Tokens>,
    /// What becomes of those whose channels the node does not know.
    channel_outcomes: ChannelOutcomes,
    idle_wakes: u32,
    /// Requests that have ended.
    ended: u64,
    /// What a node would have recorded, if that is wanted.
    lines: Option<Vec<Line>>,
    slowdown: EngineSlowdown,
}

impl Simulation {
    /// A scenario about to begin.
    pub fn new(scenario: &Scenario) -> Self {
        Self::begin(&scenario.node, &scenario.settings, ChannelOutcomes::of(scenario), scenario.arrivals())
            .slowed_by(EngineSlowdown::steady(Factors::both(scenario.knowledge.engine_factor)))
    }
}

impl<I: Iterator<Item = Arrival>> Simulation<I> {
    /// An idle node to which these arrivals come: a trace, or a story to be told again. They must be in the
    /// order in which the node hears of them, each request with an id of its own.
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
            here: BTreeMap::new(),
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

    /// The same with an engine of this slowdown; it begins with what its cost model says.
    pub fn slowed_by(self, slowdown: EngineSlowdown) -> Self {
        Self { slowdown, ..self }
    }

    /// Puts down what else will happen, besides the arrivals.
    pub fn expect(&mut self, at: Instant, event: Event) {
        self.events.add(at, event);
    }

    /// Plays it to its end, and writes down what a node records.
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

    /// Plays it to its end, and keeps all of it. `progress` is told how many requests have ended, after each
    /// event.
    ///
    /// # Panics
    ///
    /// When an invariant is broken: time goes back, a request ends twice or never, something is still
    /// held at the end; in debug builds and this crate's tests also after each event.
    pub fn run(mut self, progress: impl FnMut(u64)) -> Run {
        let mut run = Run::default();
        let Ok(()) = self.play(&mut run, progress);
        run
    }

    /// Plays it to its end, and gives away whatever happens: nothing of it is kept.
    ///
    /// # Errors
    ///
    /// When the sink cannot take something; the rest is not played.
    ///
    /// # Panics
    ///
    /// As [`Simulation::run`].
    pub fn run_into<S: Sink>(mut self, sink: &mut S, progress: impl FnMut(u64)) -> Result<(), S::Error> {
        self.play(sink, progress)
    }

    fn play<S: Sink>(&mut self, sink: &mut S, mut progress: impl FnMut(u64)) -> Result<(), S::Error> {
        while let Some((at, event)) = self.events.next() {
            self.happens(at, event, sink)?;
            progress(self.ended);
        }
        self.assert_over();
        Ok(())
    }

    fn happens<S: Sink>(&mut self, at: Instant, event: Event, sink: &mut S) -> Result<(), S::Error> {
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
            // Weights that are gone take no time.
            Order::Unload(_) => Ok(()),
            Order::End(record) => {
                let record = self.channel_outcomes.deliver(record);
                self.close_the_book_on(record, sink)
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
        self.engine.answer_with(request, self.here[&request]);
        let work = GenerationTask {
            // What the tokens are does not matter here, only how many there are.
            prompt: vec![TokenId(0); running.prompt.0 as usize],
            max_output: running.request.max_output,
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            ignore_eos: false,
            cache_prompt: false,
        };
        // Who was recorded with a prefix in the cache finds it there again.
        let opened = self.engine.open(request, work);
        if let Err(error) = opened.and_then(|()| self.engine.skip(request, running.request.cached)) {
            self.events.add(self.now, Event::OpenFailed { request, error });
        }
    }

    /// Runs a step at once; the pipeline is told when its time has passed.
    fn step<S: Sink>(&mut self, step: &Step, sink: &mut S) -> Result<(), S::Error> {
        let mut took = Span::ZERO;
        self.engine.stretch(self.slowdown.at(self.now));
        match self.engine.step(step, &mut |_: hedgerow_core::engine::Emission<'_>| {}) {
            Ok(report) => {
                took = report.elapsed;
                self.events.add(self.now + took, Event::StepDone(report));
            }
            Err(error) => self.events.add(self.now, Event::StepFailed(error)),
        }
        sink.stepped(self.now, took, step)
    }

    /// Loads at once; the pipeline is told when the time of it has passed.
    fn load(&mut self, precision: PrecisionIndex) {
        let takes = match self.node.precisions[precision.0].residency {
            Residency::OnDemand { load, .. } => load,
            Residency::Always => Span::ZERO,
        };
        self.events.add(self.now + takes, Event::Loaded { precision, is_there: true });
    }

    fn close_the_book_on<S: Sink>(&mut self, record: Record, sink: &mut S) -> Result<(), S::Error> {
        let answer = self.here.remove(&record.request.id);
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

    /// Puts the next arrival into the event queue: one at a time, so that the queue stays small.
    fn expect_next_arrival(&mut self) {
        let Some(arrival) = self.arrivals.next() else { return };
        let id = arrival.request.id;
        self.here.insert(id, arrival.answer);
        self.channel_outcomes.expect(&arrival);
        if let Some(leaves) = arrival.leaves {
            self.events.add(leaves, Event::Cancelled(id));
        }
        self.events.add(arrival.told, Event::Arrived(arrival.request));
    }

    fn watch_for_livelock(&mut self, is_wake: bool, orders: &[Order]) {
        let is_idle = is_wake
            && self.events.has_only_wakes()
            && orders.iter().all(|order| matches!(order, Order::WakeAt(_) | Order::Planned(_)));
        self.idle_wakes = if is_idle { self.idle_wakes + 1 } else { 0 };
        let who = self.here.keys().next();
        assert!(
            self.idle_wakes < IDLE_WAKES_MAX,
            "livelock at {:?} under {}: {who:?} waits for ever",
            self.now,
            self.policy
        );
    }

    fn assert_over(&self) {
        let Self { pipeline, engine, here, now, .. } = self;
        assert!(
            here.is_empty(),
            "deadlock at {now:?} under {}: nothing is to happen any more, but {} requests have not ended, \
             the first is {:?}; {} wait and {} run",
            self.policy,
            here.len(),
            here.keys().next(),
            pipeline.queue_len(),
            pipeline.running().len(),
        );
        assert!(pipeline.is_idle(), "every request has ended, but the pipeline still holds some");
        assert_eq!(engine.kv_used(), Tokens::ZERO, "the engine still holds tokens");
        pipeline.assert_conserved();
    }
}
