//! Helpers of the tests: the model, an engine, and a way to run a request to its end.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hedgerow_core::engine::{
    Emission, EndReason, Engine, GenerationTask, PrefillChunk, Sampling, Step, StepReport, TokenId,
};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel, LoadOptions};

/// The test model's file: the one that `HEDGEROW_TEST_MODEL` names, or else the built-in one in the cache.
pub(crate) fn model_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HEDGEROW_TEST_MODEL") {
        return Some(path.into());
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = folder("HEDGEROW_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("hedgerow")))
        .or_else(|| Some(folder("HOME")?.join(".cache/hedgerow")))?;
    Some(cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|path| path.exists())
}

/// The test model and a lock for its exclusive use, because engines of two tests at once would slow each other down.
/// Prints the reason if there is no model.
pub(crate) fn model() -> Option<(&'static LlamaModel, MutexGuard<'static, ()>)> {
    static MODEL: OnceLock<Option<LlamaModel>> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let model = MODEL.get_or_init(|| {
        // Number of layers to offload, for tests of the engine on an accelerator.
        let layers = std::env::var("HEDGEROW_TEST_GPU_LAYERS").ok();
        let gpu_layers =
            layers.map_or(0, |layers| layers.parse().expect("HEDGEROW_TEST_GPU_LAYERS is a number"));
        let options = LoadOptions { gpu_layers, ..LoadOptions::default() };
        Some(LlamaModel::load(&model_path()?, &options, |_| {}).expect("the test model loads"))
    });
    if model.is_none() {
        println!("skipped: no model; set HEDGEROW_TEST_MODEL to a GGUF file");
    }
    Some((model.as_ref()?, turn))
}

/// Options of a small engine. It has one thread, because two wait for each other by spinning and would be many times
/// slower than one on a busy machine.
pub(crate) fn options(parallel: u32) -> EngineOptions {
    EngineOptions {
        parallel,
        context: Tokens(256),
        threads: 1,
        threads_batch: 1,
        micro_batch: Tokens(128),
        retained: 0,
        kv_unified: false,
        flash_attention: false,
        kv_type: hedgerow_core::node::KvType::F16,
    }
}

pub(crate) fn engine(model: &LlamaModel, parallel: u32) -> LlamaEngine<'_> {
    LlamaEngine::new(model, &options(parallel)).expect("a small engine fits")
}

pub(crate) fn greedy(prompt: Vec<TokenId>, max_output: u32) -> GenerationTask {
    GenerationTask {
        prompt_tokens: prompt,
        max_output: Tokens(max_output),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        ignore_eos: false,
        cache_prompt: false,
    }
}

pub(crate) fn chat(model: &LlamaModel, message: &str) -> Vec<TokenId> {
    let text = format!("<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n");
    model.tokenize(&text, true, false)
}

pub(crate) fn chunk(request: u64, tokens: usize) -> PrefillChunk {
    PrefillChunk { request: RequestId(request), tokens: Tokens(tokens as u32) }
}

pub(crate) fn prefill(request: u64, tokens: usize) -> Step {
    Step { prefill: vec![chunk(request, tokens)], ..Step::default() }
}

pub(crate) fn decode(requests: &[u64]) -> Step {
    Step { decode: requests.iter().copied().map(RequestId).collect(), ..Step::default() }
}

/// The answer of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) pieces: Vec<String>,
    pub(crate) end: Option<EndReason>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }

    pub(crate) fn take(&mut self, emission: Emission<'_>) {
        assert_eq!(self.end, None, "a token after the last");
        self.tokens.push(emission.token);
        self.pieces.push(emission.text.to_owned());
        self.end = emission.end;
    }
}

/// Runs a step and compares the engine's count of cached tokens with llama.cpp's.
pub(crate) fn run(
    engine: &mut LlamaEngine<'_>,
    step: &Step,
    mut sink: impl FnMut(Emission<'_>),
) -> StepReport {
    let report = engine.step(step, &mut |emission: Emission<'_>| sink(emission)).expect("the step is fine");
    assert_eq!(engine.kv_used(), engine.kv_held(), "after {step:?}");
    report
}

/// Opens a request in an idle engine and runs it to its end.
pub(crate) fn answer(engine: &mut LlamaEngine<'_>, work: GenerationTask) -> Answer {
    let prompt = work.prompt_tokens.len();
    engine.open(RequestId(0), work).expect("the request fits");
    let mut answer = Answer::default();
    run(engine, &prefill(0, prompt), |emission| answer.take(emission));
    while answer.end.is_none() {
        run(engine, &decode(&[0]), |emission| answer.take(emission));
    }
    assert_eq!(engine.kv_held(), Tokens::ZERO);
    answer
}
