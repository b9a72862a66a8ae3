//! A pipeline and a scripted engine, driven by timed events in virtual time: for tests and examples.

use std::collections::BTreeMap;

use hedgerow_solver::Policy;

use super::{Event, Order, Pipeline};
use crate::engine::{
    CostModel, Emission, Engine as _, EngineLimits, GenerationTask, Sampling, ScriptedEngine, TokenId,
};
use crate::model::cost::{MeasuredCost, Surface};
use crate::model::node::{KvType, ModelShape, Node};
use crate::model::precision::{Precision, Residency};
use crate::model::request::Request;
use crate::model::settings::{Padding, Protocol, Settings};
use crate::model::time::{Instant, Span};
use crate::model::units::{Bytes, Quality, Tokens};
use crate::output::Outcome;

/// The time of every step of the scripted engine, as the cost model predicts it.
pub const STEP: Span = Span::from_millis(10);

/// The time to load a precision.
pub const LOAD: Span = Span::from_millis(30);

/// A node on which a prompt takes one step and each further token another, whatever the batch size.
pub fn node() -> Node {
    let constant = |count| Surface::level(&[(1, STEP), (count, STEP)]);
    Node {
        memory: Bytes(1_000 + 8 * 100 * 4),
        model: ModelShape {
            layers: 1,
            hidden: 1,
            kv_width: 1,
            feed_forward: 1,
            gated: false,
            vocabulary: 1,
            kv_type: KvType::F16,
        },
        precisions: vec![Precision {
            name: "Q4_0".into(),
            weights: Bytes(1_000),
            beta_prefill: 1.0,
            beta_decode: 1.0,
            quality: Quality::new(0.9).unwrap(),
            residency: Residency::Always,
            measured: None,
        }],
        weights_limit: None,
        kv_block: Tokens(1),
        cost: CostModel::Measured(MeasuredCost {
            prefill: constant(1_000),
            decode: constant(8),
            mixed_ns: 0,
        }),
        max_parallel: 4,
        context: Tokens(100),
        prefill_chunk: Tokens(100),
        radio: None,
        wire: None,
    }
}

/// Settings for continuous batching, without a margin.
pub fn settings(policy: Policy) -> Settings {
    Settings {
        protocol: Protocol::Continuous,
        policy,
        queue_capacity: 8,
        node_limit: 10_000,
        margin: 0.0,
        confidence: 1.0,
        best_effort_share: 0.0,
        padding: Padding::None,
    }
}

/// Drives a pipeline and a scripted engine in virtual time and logs how each request ended.
#[derive(Debug)]
pub struct ScriptedDriver {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// The engine.
    pub engine: ScriptedEngine,
    /// Events to come: by time, then in the order in which they were scheduled.
    pub(super) event_queue: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    /// Whether ordered loads succeed.
    pub loads_succeed: bool,
    log: String,
}

impl ScriptedDriver {
    /// A driver of an idle node.
    pub fn new(node: Node, settings: Settings) -> Self {
        let limits = EngineLimits { parallel: node.max_parallel, context: node.context, kv: Tokens(400) };
        let engine = ScriptedEngine::new(limits, STEP);
        let pipeline = Pipeline::new(node, settings);
        let event_queue = BTreeMap::new();
        Self { pipeline, engine, event_queue, scheduled: 0, loads_succeed: true, log: String::new() }
    }

    /// Adds an event, in milliseconds from the start.
    pub fn at(&mut self, at_ms: u64, event: Event) {
        self.schedule(Instant::START + Span::from_millis(at_ms), event);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.event_queue.insert((at, self.scheduled), event);
    }

    /// Adds a request, when it arrives.
    pub fn arrive(&mut self, request: Request) {
        self.schedule(request.arrived, Event::Arrived(request));
    }

    /// Plays all events and those that follow from them; returns one line for each end, load and unload.
    ///
    /// # Panics
    ///
    /// When resources are not conserved, or the node is not idle at the end.
    pub fn run(mut self) -> String {
        while let Some(((now, _), event)) = self.event_queue.pop_first() {
            for order in self.pipeline.on_event(now, event) {
                self.carry_out(now, order);
            }
            self.pipeline.assert_conserved();
        }
        assert!(self.pipeline.is_idle(), "no event is left, yet the node is not idle");
        assert_eq!(self.engine.kv_used(), Tokens::ZERO);
        self.log
    }

    pub(super) fn carry_out(&mut self, now: Instant, order: Order) {
        match order {
            Order::Start(running) => {
                let work = GenerationTask {
                    prompt_tokens: vec![TokenId(0); running.padded_len.0 as usize],
                    max_output: running.request.max_output,
                    sampling: Sampling::GREEDY,
                    stop: Vec::new(),
                    ignore_eos: false,
                    cache_prompt: false,
                };
                let request = running.request.id;
                if let Err(error) = self.engine.open(request, work) {
                    self.schedule(now, Event::OpenFailed { request, error });
                }
            }
            Order::Stop(id) => self.engine.close(id),
            Order::Run(step) => match self.engine.step(&step, &mut |_: Emission<'_>| {}) {
                Ok(report) => self.schedule(now + report.elapsed, Event::StepDone(report)),
                Err(error) => self.schedule(now + STEP, Event::StepFailed(error)),
            },
            Order::End(record) => {
                let reason = match &record.outcome {
                    Outcome::Rejected(rejection) => format!(": {rejection}"),
                    Outcome::Met(_)
                    | Outcome::Late(_)
                    | Outcome::Expired
                    | Outcome::Cancelled
                    | Outcome::Failed(_)
                    | Outcome::ShutDown => format!(", {}", record.produced),
                };
                let at = Span(record.ended.0);
                self.log += &format!("{at}: {} {}{reason}\n", record.request.id, record.outcome.name());
            }
            Order::WakeAt(at) => self.schedule(at, Event::Woke),
            Order::Load(precision) => {
                self.log += &format!(
                    "{}: loads {}\n",
                    Span(now.0),
                    self.pipeline.node().precisions[precision.0].name
                );
                self.schedule(now + LOAD, Event::Loaded { precision, is_there: self.loads_succeed });
            }
            Order::Unload(precision) => {
                self.log += &format!(
                    "{}: unloads {}\n",
                    Span(now.0),
                    self.pipeline.node().precisions[precision.0].name
                );
            }
            Order::Planned(_) => {}
        }
    }
}
