//! Drives the pipeline by hand: three requests, one of which is due too soon, in virtual time.
//!
//! cargo run --release -p hedgerow-core --example drive_the_pipeline

use std::collections::VecDeque;

use hedgerow_core::engine::{Engine as _, EngineLimits, GenerationTask, Sampling, ScriptedEngine, TokenId};
use hedgerow_core::pipeline::scripted::{STEP, node, settings};
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::running::Running;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Tokens;
use hedgerow_core::{Event, Order, Pipeline};
use hedgerow_solver::Policy;

fn main() {
    let node = node();
    let limits = EngineLimits { parallel: node.max_parallel, context: node.context, kv: Tokens(400) };
    let mut engine = ScriptedEngine::new(limits, STEP);
    let mut pipeline = Pipeline::new(node, settings(Policy::Exact));
    let request = |id, output, deadline_ms| Request {
        deadline: Some(Instant::START + Span::from_millis(deadline_ms)),
        ..Request::new(RequestId(id), Instant::START, Tokens(10), Tokens(output))
    };
    let arriving = [request(1, 3, 100), request(2, 20, 500), request(3, 8, 40)];
    let mut events = VecDeque::from(arriving.map(|one| (Instant::START, Event::Arrived(one))));
    while let Some((now, event)) = events.pop_front() {
        for order in pipeline.on_event(now, event) {
            match order {
                Order::Start(running) => {
                    engine.open(running.request.id, task(&running)).expect("there is a place");
                }
                Order::Stop(id) => engine.close(id),
                Order::Run(step) => {
                    let report = engine.step(&step, &mut |_: hedgerow_core::engine::Emission<'_>| {});
                    let report = report.expect("it runs");
                    events.push_back((now + report.elapsed, Event::StepDone(report)));
                }
                Order::End(record) => {
                    println!("{}: {} {:?}", Span(record.ended.0), record.request.id, record.outcome);
                }
                Order::WakeAt(at) => events.push_back((at, Event::Woke)),
                Order::Planned(_) | Order::Load(_) | Order::Unload(_) => {}
            }
        }
    }
    assert!(pipeline.is_idle());
}

fn task(running: &Running) -> GenerationTask {
    let prompt = vec![TokenId(0); running.padded_len.0 as usize];
    let (max_output, sampling, stop) = (running.request.max_output, Sampling::GREEDY, Vec::new());
    GenerationTask {
        prompt_tokens: prompt,
        max_output,
        sampling,
        stop,
        ignore_eos: true,
        cache_prompt: false,
    }
}
