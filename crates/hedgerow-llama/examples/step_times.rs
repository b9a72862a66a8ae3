//! Measures the speed of this build: prefill of one prompt, and decode steps of 1 and 16 requests.
//!
//! cargo run --release --example step_times -- model.gguf [ROUNDS]
//!
//! Prints lines `NAME TOKENS_PER_SECOND`, each from the median of its steps. `cargo xtask compare-builds` runs it
//! alternately as the native and the portable build.

use std::path::Path;

use hedgerow_core::engine::{Emission, Engine, GenerationTask, PrefillChunk, Sampling, Step, TokenId};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel, LoadOptions};

const PROMPT: u32 = 128;
const STEPS: usize = 24;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().expect("name a GGUF file");
    let rounds = arguments.get(1).map_or(5, |count| count.parse().expect("ROUNDS is a number"));
    let options = LoadOptions::default();
    let model = LlamaModel::load(Path::new(path), &options, |_| {}).expect("the model loads");
    let text: Vec<TokenId> = model.tokenize(&"A hedge grows along the lane. ".repeat(40), false, false);
    for parallel in [1, 16] {
        let mut engine = LlamaEngine::new(&model, &engine_options(parallel)).expect("there is memory");
        let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
        for _ in 0..=rounds {
            let requests: Vec<RequestId> = (0..u64::from(parallel)).map(RequestId).collect();
            for &request in &requests {
                let prompt = text[request.0 as usize..][..PROMPT as usize].to_vec();
                let work = GenerationTask {
                    prompt_tokens: prompt,
                    max_output: Tokens(1 + STEPS as u32),
                    sampling: Sampling::GREEDY,
                    stop: Vec::new(),
                    ignore_eos: true,
                    cache_prompt: false,
                };
                engine.open(request, work).expect("it has room");
                let chunk = PrefillChunk { request, tokens: Tokens(PROMPT) };
                prefills.push(seconds(&mut engine, &Step { prefill: vec![chunk], ..Step::default() }));
            }
            for _ in 0..STEPS {
                decodes.push(seconds(&mut engine, &Step { decode: requests.clone(), ..Step::default() }));
            }
        }
        if parallel == 1 {
            println!("prefill-{PROMPT} {:.1}", f64::from(PROMPT) / median(prefills.split_off(1)));
        }
        println!("decode-{parallel} {:.1}", f64::from(parallel) / median(decodes.split_off(STEPS)));
    }
}

fn seconds(engine: &mut LlamaEngine<'_>, step: &Step) -> f64 {
    engine.step(step, &mut |_: Emission<'_>| {}).expect("the step runs").elapsed.as_seconds()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn engine_options(parallel: u32) -> EngineOptions {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    EngineOptions {
        parallel,
        context: Tokens(PROMPT + 64),
        retained: 0,
        threads,
        threads_batch: threads,
        micro_batch: Tokens(64),
        kv_unified: false,
        flash_attention: false,
        kv_type: hedgerow_core::node::KvType::F16,
    }
}
