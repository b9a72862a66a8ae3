//! Loads a model and answers two prompts of different lengths in one batch.
//!
//! cargo run --release -p hedgerow-llama --example two_prompts -- model.gguf

use std::error::Error;

use hedgerow_core::engine::{Emission, Engine, GenerationTask, PrefillChunk, Sampling, Step};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel, LoadOptions};

const PROMPTS: [&str; 2] = ["The capital of France is", "A hedgerow is a line of closely spaced shrubs that"];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which model? give the path of a GGUF file")?;
    let model = LlamaModel::load(path.as_ref(), &LoadOptions::default(), |_| {})?;
    let options = EngineOptions {
        parallel: 2,
        context: Tokens(256),
        threads: 2,
        threads_batch: 2,
        micro_batch: Tokens(128),
        retained: 0,
        kv_unified: false,
        flash_attention: false,
        kv_type: hedgerow_core::node::KvType::F16,
    };
    let mut engine = LlamaEngine::new(&model, &options)?;

    // The first step prefills both prompts and produces the first token of each answer.
    let mut step = Step::default();
    for (id, text) in (0..).zip(PROMPTS) {
        let prompt = model.tokenize(text, false, true);
        let tokens = Tokens(prompt.len() as u32);
        let max_output = Tokens(16);
        let work = GenerationTask {
            prompt_tokens: prompt,
            max_output,
            sampling: Sampling::GREEDY,
            stop: vec!["\n".to_owned()],
            ignore_eos: false,
            cache_prompt: false,
        };
        engine.open(RequestId(id), work)?;
        step.prefill.push(PrefillChunk { request: RequestId(id), tokens });
    }

    // Every later step decodes one token of each request that has not ended.
    let mut answers = [String::new(), String::new()];
    while !step.is_empty() {
        let mut sink = |emission: Emission<'_>| answers[emission.request.0 as usize].push_str(emission.text);
        let report = engine.step(&step, &mut sink)?;
        let open = report.progress.iter().filter(|progress| progress.end.is_none());
        step = Step { decode: open.map(|progress| progress.request).collect(), ..Step::default() };
    }
    for (prompt, answer) in PROMPTS.iter().zip(&answers) {
        println!("{prompt} ->{answer}");
    }
    Ok(())
}
