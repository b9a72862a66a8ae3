//! A node inside another program: it loads a model, asks it one question with a deadline, and prints the answer.
//!
//! cargo run --release -p hedgerow-node --example embed_a_node -- model.gguf

use std::sync::Arc;

use anyhow::Context as _;
use hedgerow_core::engine::{GenerationTask, Sampling};
use hedgerow_core::request::Request;
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;
use hedgerow_node::clock::Clock;
use hedgerow_node::metrics::Metrics;
use hedgerow_node::models::FetchOptions;
use hedgerow_node::node::{self, Speed, Update, Variant};
use hedgerow_node::profile::Profiler;
use hedgerow_node::request_log::RequestLog;
use hedgerow_node::{config, kernels, loading};

fn main() -> anyhow::Result<()> {
    if let Some(outcome) = kernels::run_trial_if_asked() {
        return outcome;
    }
    let name = std::env::args().nth(1).context("usage: embed_a_node MODEL.gguf")?;
    let config = config::of_file(None)?;
    let options = FetchOptions::from_environment()?;
    let loaded = loading::load_model_to_run(&name, &options, &config, &|line| eprintln!("{line}"))?;
    let speed = Speed::Profile(Box::new(Profiler::new(&loaded, &config)?));
    let variant = Variant::of(loaded, speed, config.model.quality);
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::new());
    let node = node::start(vec![variant], &config, clock, &metrics, None)?;

    let model = node.model();
    let prompt = model.tokenize("A hedgerow is", false, model.info().add_bos);
    let (arrived, max_output) = (clock.now(), Tokens(24));
    let request = Request {
        deadline: Some(arrived + Span::from_millis(30_000)),
        ..Request::new(node.new_id(), arrived, Tokens(prompt.len() as u32), max_output)
    };
    let (prompt_tokens, sampling, stop) = (prompt, Sampling::GREEDY, Vec::new());
    let (ignore_eos, cache_prompt) = (false, true);
    let task = GenerationTask { prompt_tokens, max_output, sampling, stop, ignore_eos, cache_prompt };
    let place = node.reserve_place().context("the queue is full")?;
    let mut handle = node.submit(request, task, place, RequestLog::new(clock, &metrics));
    tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        while let Some(update) = handle.next().await {
            match update {
                Update::Started { .. } => println!("admitted"),
                Update::Token(text) => print!("{text}"),
                Update::Ended(record) => println!("\n{}", record.outcome.name()),
            }
        }
    });
    node.shut_down(Span::from_millis(1_000));
    Ok(())
}
