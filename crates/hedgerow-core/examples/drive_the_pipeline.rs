//! Drives the pipeline by hand: three requests, one of which is due too soon, in virtual time.
//!
//! cargo run --release -p hedgerow-core --example drive_the_pipeline

use hedgerow_core::engine::{
    CostModel, Engine as _, EngineLimits, GenerationTask, Sampling, ScriptedEngine, TokenId,
};
use hedgerow_core::model::cost::{MeasuredCost, Surface};
use hedgerow_core::model::precision::{Precision, Residency};
use hedgerow_core::node::{KvType, ModelShape, Node};
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::settings::{Padding, Protocol, Settings};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bytes, Quality, Tokens};
use hedgerow_core::{Event, Order, Pipeline};
use hedgerow_solver::Policy;

/// Every step takes this long, whatever it runs.
const STEP: Span = Span::from_millis(10);

fn main() {
    let node = node();
    let limits = EngineLimits { parallel: 4, context: node.context, kv: Tokens(400) };
    let mut engine = ScriptedEngine::new(limits, STEP);
    let mut pipeline = Pipeline::new(node, settings());
    let request = |id, output, deadline_ms| Request {
        deadline: Some(Instant::START + Span::from_millis(deadline_ms)),
        ..Request::new(RequestId(id), Instant::START, Tokens(10), Tokens(output))
    };
    let mut events = std::collections::VecDeque::from(
        [request(1, 3, 100), request(2, 20, 500), request(3, 8, 40)]
            .map(|one| (Instant::START, Event::Arrived(one))),
    );
    while let Some((now, event)) = events.pop_front() {
        for order in pipeline.on_event(now, event) {
            match order {
                Order::Start(running) => {
                    let prompt = vec![TokenId(0); running.prompt.0 as usize];
                    engine
                        .open(running.request.id, task(prompt, running.request.max_output))
                        .expect("there is a place");
                }
                Order::Stop(id) => engine.close(id),
                Order::Run(step) => {
                    let report = engine
                        .step(&step, &mut |_: hedgerow_core::engine::Emission<'_>| {})
                        .expect("it runs");
                    events.push_back((now + report.elapsed, Event::StepDone(report)));
                }
                Order::End(record) => {
                    println!("{}: {} {:?}", Span(record.ended.0), record.request.id, record.outcome)
                }
                Order::WakeAt(at) => events.push_back((at, Event::Woke)),
                Order::Planned(_) | Order::Load(_) | Order::Unload(_) => {}
            }
        }
    }
    assert!(pipeline.is_idle());
}

fn task(prompt: Vec<TokenId>, max_output: Tokens) -> GenerationTask {
    let stop = Vec::new();
    GenerationTask {
        prompt,
        max_output,
        sampling: Sampling::GREEDY,
        stop,
        ignore_eos: true,
        cache_prompt: false,
    }
}

fn settings() -> Settings {
    Settings {
        protocol: Protocol::Continuous,
        policy: Policy::Exact,
        queue_capacity: 8,
        node_limit: 10_000,
        margin: 0.0,
        confidence: 1.0,
        best_effort_share: 0.0,
        padding: Padding::None,
    }
}

/// A node that runs four requests at once, with one precision.
fn node() -> Node {
    let constant = |count| Surface::level(&[(1, STEP), (count, STEP)]);
    let (name, weights, quality) = ("Q4_0".to_owned(), Bytes(1_000), Quality::FULL);
    let residency = Residency::Always;
    let (layers, hidden, kv_width, feed_forward, vocabulary) = (1, 1, 1, 1, 1);
    Node {
        memory: Bytes(1_000 + 4 * 400),
        model: ModelShape {
            layers,
            hidden,
            kv_width,
            feed_forward,
            gated: false,
            vocabulary,
            kv_type: KvType::F16,
        },
        precisions: vec![Precision {
            name,
            weights,
            beta_prefill: 1.0,
            beta_decode: 1.0,
            quality,
            residency,
            measured: None,
        }],
        weights_limit: None,
        kv_block: Tokens(1),
        cost: CostModel::Measured(MeasuredCost {
            prefill: constant(1_000),
            decode: constant(4),
            mixed_ns: 0,
        }),
        max_parallel: 4,
        context: Tokens(100),
        prefill_chunk: Tokens(100),
        radio: None,
        wire: None,
    }
}
