//! Compares the decode speed of the engine with a bare loop over the binding, with the same batches.
//!
//! cargo bench -p hedgerow-llama -- model.gguf            measures
//! cargo bench -p hedgerow-llama -- model.gguf --quick    only checks that both produce the same tokens
//!
//! Use `--threads=1` on a busy machine: threads wait for each other by spinning, so a second thread would measure the
//! other load.
//!
//! The two alternate step by step, so that other load affects both equally. The digest covers the produced tokens: an
//! optimization must not change it.

#[path = "../tests/common/mod.rs"]
mod common;

use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hedgerow_core::engine::{Emission, Engine, GenerationTask, PrefillChunk, Sampling, Step, TokenId};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel, LoadOptions};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;

const CONTEXT: u32 = 256;
const PROMPT: usize = 32;
const TEXT: &str = "A hedgerow is a line of closely spaced shrubs, planted and trained to form a barrier or to \
    mark the boundary of an area. Birds nest in it, hedgehogs sleep under it, and farmers have cut and laid it \
    for a thousand years. In spring the blackthorn flowers first, then the hawthorn, and in autumn there are \
    sloes, haws and blackberries for whoever comes by.";

struct Size {
    rounds: usize,
    steps: u32,
    threads: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes `--bench` to benchmarks, but not to tests.
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let is_quick = has("--quick") || !has("--bench");
    let named = arguments.iter().find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let Some(path) = named.or_else(common::model_path) else {
        println!("skipped: no model; name a GGUF file or set HEDGEROW_TEST_MODEL to one");
        return;
    };
    let cores = || std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let threads = arguments.iter().find_map(|argument| argument.strip_prefix("--threads=")?.parse().ok());
    let threads = threads.unwrap_or_else(cores);
    let size = match is_quick {
        true => Size { rounds: 1, steps: 4, threads },
        false => Size { rounds: 5, steps: 48, threads },
    };
    let model = LlamaModel::load(&path, &LoadOptions::default(), |_| {}).unwrap();
    let (backend, bare_model) = load_bare(&path);
    let tokens = model.tokenize(TEXT, false, false);
    for parallel in [1, 16] {
        let prompts: Vec<Vec<TokenId>> =
            (0..parallel).map(|id| tokens[2 * id..2 * id + PROMPT].to_vec()).collect();
        let options = engine_options(parallel as u32, size.threads);
        let mut ours = Ours {
            engine: LlamaEngine::new(&model, &options).unwrap(),
            decode: Step { decode: (0..parallel as u64).map(RequestId).collect(), ..Step::default() },
            written: Vec::new(),
        };
        let mut bare = Bare {
            vocabulary: bare_model.vocab(),
            context: bare_model.new_context(&backend, bare_parameters(&options)).unwrap(),
            batch: LlamaBatch::new(parallel * PROMPT, 1),
            last: Vec::new(),
            position: 0,
            written: Vec::new(),
        };
        compare(&prompts, &size, &mut ours, &mut bare);
    }
}

fn compare(prompts: &[Vec<TokenId>], size: &Size, ours: &mut Ours<'_>, bare: &mut Bare<'_>) {
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        ours.prefill(prompts, size.steps);
        bare.prefill(prompts);
        for step in 0..size.steps {
            if step % 2 == 0 {
                our_times.push(time(|| ours.decode()));
                bare_times.push(time(|| bare.decode()));
            } else {
                bare_times.push(time(|| bare.decode()));
                our_times.push(time(|| ours.decode()));
            }
        }
        assert_eq!(ours.written, bare.written, "the engine and the bare loop wrote different tokens");
        bare.context.clear_kv_cache_seq(None, None, None).unwrap();
    }
    let digest = digest(&ours.written);
    let (our_time, bare_time) = (median(our_times), median(bare_times));
    let rate = |step_s: f64| prompts.len() as f64 / step_s;
    println!(
        "{:2} requests, {} threads: engine {:.1} tok/s, bare loop {:.1} tok/s, ratio {:.3}, digest {digest:016x}",
        prompts.len(),
        size.threads,
        rate(our_time),
        rate(bare_time),
        bare_time / our_time,
    );
}

fn time(run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The engine and the tokens that one round has produced.
struct Ours<'m> {
    engine: LlamaEngine<'m>,
    decode: Step,
    written: Vec<i32>,
}

impl Ours<'_> {
    fn prefill(&mut self, prompts: &[Vec<TokenId>], steps: u32) {
        let mut prefill = Step::default();
        for (&request, prompt) in self.decode.decode.iter().zip(prompts) {
            let work = GenerationTask {
                prompt_tokens: prompt.clone(),
                max_output: Tokens(1 + steps),
                sampling: Sampling::GREEDY,
                stop: Vec::new(),
                ignore_eos: true,
                cache_prompt: false,
            };
            prefill.prefill.push(PrefillChunk { request, tokens: Tokens(prompt.len() as u32) });
            self.engine.open(request, work).unwrap();
        }
        self.written.clear();
        self.engine.step(&prefill, &mut |_: Emission<'_>| {}).unwrap();
    }

    fn decode(&mut self) {
        let Self { engine, decode, written } = self;
        engine.step(decode, &mut |emission: Emission<'_>| written.push(emission.token.0)).unwrap();
    }
}

/// A minimal loop over the binding for this one case.
struct Bare<'m> {
    vocabulary: LlamaVocab<'m>,
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    last: Vec<LlamaToken>,
    position: i32,
    written: Vec<i32>,
}

impl Bare<'_> {
    fn prefill(&mut self, prompts: &[Vec<TokenId>]) {
        self.batch.clear();
        for (id, prompt) in (0..).zip(prompts) {
            for (position, token) in (0..).zip(prompt) {
                let is_last = position as usize + 1 == PROMPT;
                self.batch.add(LlamaToken(token.0), position, &[id], is_last).unwrap();
            }
        }
        self.context.decode(&mut self.batch).unwrap();
        let rows = (1..=prompts.len()).map(|count| (count * PROMPT) as i32 - 1);
        self.last = rows.map(|row| likeliest(self.context.get_logits_ith(row), &self.vocabulary)).collect();
        self.position = PROMPT as i32;
        self.written.clear();
    }

    fn decode(&mut self) {
        self.batch.clear();
        for (id, &token) in (0..).zip(&self.last) {
            self.batch.add(token, self.position, &[id], true).unwrap();
        }
        self.context.decode(&mut self.batch).unwrap();
        for (row, token) in (0..).zip(&mut self.last) {
            *token = likeliest(self.context.get_logits_ith(row), &self.vocabulary);
            self.written.push(token.0);
        }
        self.position += 1;
    }
}

/// The most probable token that does not end the text, because the engine ignores end tokens too.
fn likeliest(scores: &[f32], vocabulary: &LlamaVocab<'_>) -> LlamaToken {
    let (mut best, mut best_score) = (LlamaToken(0), f32::NEG_INFINITY);
    for (id, &score) in (0..).zip(scores) {
        if score > best_score && !vocabulary.is_eog(LlamaToken(id)) {
            (best, best_score) = (LlamaToken(id), score);
        }
    }
    best
}

/// FNV-1a over the tokens.
fn digest(tokens: &[i32]) -> u64 {
    let bytes = tokens.iter().flat_map(|token| token.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn engine_options(parallel: u32, threads: u32) -> EngineOptions {
    EngineOptions {
        parallel,
        context: Tokens(CONTEXT),
        threads,
        threads_batch: threads,
        micro_batch: Tokens(128),
        retained: 0,
        kv_unified: false,
        flash_attention: false,
        kv_type: hedgerow_core::node::KvType::F16,
    }
}

/// The same settings for the binding.
fn bare_parameters(options: &EngineOptions) -> LlamaContextParams {
    let cells = options.parallel * options.context.0;
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells))
        .with_n_batch(cells)
        .with_n_ubatch(options.micro_batch.0)
        .with_n_seq_max(options.parallel)
        .with_n_threads(options.threads as i32)
        .with_n_threads_batch(options.threads_batch as i32)
        .with_kv_unified(options.kv_unified)
        .with_flash_attention_policy(i32::from(options.flash_attention))
        .with_no_perf(true)
}

fn load_bare(path: &Path) -> (ManuallyDrop<LlamaBackend>, llama_cpp_2::model::LlamaModel) {
    // The engine's crate has already initialized llama.cpp; the binding needs this value as proof.
    let backend = ManuallyDrop::new(LlamaBackend {});
    let parameters = LlamaModelParams::default().with_n_gpu_layers(0);
    let model = llama_cpp_2::model::LlamaModel::load_from_file(&backend, path, &parameters).unwrap();
    (backend, model)
}
