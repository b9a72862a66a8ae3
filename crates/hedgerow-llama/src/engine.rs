//! The core's [`Engine`] trait, implemented with llama.cpp.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Instant;

use hedgerow_core::engine::prefix::HeldId;
use hedgerow_core::engine::sequences::{Sequence, Sequences};
use hedgerow_core::engine::{
    Emission, EndReason, Engine, EngineError, EngineLimits, GenerationTask, Step, StepReport, TokenId,
    TokenSink,
};
use hedgerow_core::node::{KvType, ModelShape};
use hedgerow_core::output::TextStream;
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bytes, Tokens};
use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::devices::Device;
use crate::prefixes::{Prefixes, SharedPrefixes};
use crate::sampling::Chooser;
use crate::{LlamaError, LlamaModel, backend, log};

/// Largest number of open requests of an engine: llama.cpp's `LLAMA_MAX_SEQ`.
pub const PARALLEL_MAX: u32 = 256;

/// Options of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Maximum number of open requests, 1 to [`PARALLEL_MAX`].
    pub parallel: u32,
    /// Maximum tokens of a request, prompt and output together. The KV cache has room for this many for each of
    /// `parallel` requests.
    pub context: Tokens,
    /// Number of ended requests whose cells are retained outside the KV cache for prefix caching; 0 disables it. Each
    /// takes memory for its tokens, at most `context`.
    pub retained: u32,
    /// Threads for steps of a single token.
    pub threads: u32,
    /// Threads for all other steps.
    pub threads_batch: u32,
    /// Tokens per micro-batch (`n_ubatch`). llama.cpp splits larger steps, so this bounds memory (for the scores of
    /// so many tokens over the whole vocabulary), not the size of a step. On a CPU 64 is as fast as 512; 32 prefills
    /// noticeably slower.
    pub micro_batch: Tokens,
    /// Whether all requests share one KV cache, instead of one cache per request.
    ///
    /// With one cache per request, attention reads only the request's own cells. The price: llama.cpp splits a step
    /// into passes over the weights with the same number of tokens per request, so the tokens of a prompt chunk
    /// beyond the first run after all others. With one shared cache there is no such split, but attention reads the
    /// cells of all requests, and its time grows with the number of occupied cells: on a CPU slower at every measured
    /// load.
    pub kv_unified: bool,
    /// Flash attention: does not store the attention matrix, so it needs less memory. On a CPU it makes no difference
    /// at 200 tokens; at 2000 it prefills faster and decodes slower.
    pub flash_attention: bool,
    /// Type of the cached keys and values. Types of less than 16 bits need flash attention and a head size that is a
    /// multiple of 32.
    pub kv_type: KvType,
}

impl EngineOptions {
    /// Capacity of the KV cache in tokens.
    pub fn cache(&self) -> Tokens {
        Tokens(self.parallel * self.context.0)
    }

    /// The limits of an engine with these options.
    pub fn limits(&self) -> EngineLimits {
        EngineLimits { parallel: self.parallel, context: self.context, kv: self.cache() }
    }
}

/// An engine that runs a GGUF model with llama.cpp, at the precision of its file.
///
/// [`Step::precision`] selects among several engines and is ignored here.
pub struct LlamaEngine<'m> {
    model: &'m LlamaModel,
    context: LlamaContext<'m>,
    sequences: Sequences<Open<'m>>,
    /// The request at each place of llama.cpp's cache.
    holders: Vec<Option<RequestId>>,
    kv_unified: bool,
    prefixes: Prefixes,
    /// Whether cells of moved requests are still to be copied: llama.cpp copies them when the next step begins. Until
    /// that has succeeded, no place may be read or written by anything else.
    has_copies_pending: bool,
    // Reused by every step, so that a step allocates almost nothing.
    batch: LlamaBatch<'static>,
    rows: Vec<Row>,
    piece: Vec<u8>,
}

/// llama.cpp's id of a sequence in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

/// The state of an open request.
struct Open<'m> {
    place: Place,
    chooser: Chooser<'m>,
    text: TextStream,
    /// The latest token, which the next step feeds back.
    last: TokenId,
    /// Its id in the prefix index, if it takes part in prefix caching.
    held: Option<HeldId>,
}

/// A request's part in the current step.
#[derive(Clone, Copy, Debug)]
struct Row {
    request: RequestId,
    place: Place,
    held: Option<HeldId>,
    /// Prompt tokens; 0 for a decode.
    prefilled: Tokens,
    /// Index of its last token in the batch.
    last_index: i32,
}

impl<'m> LlamaEngine<'m> {
    /// Creates an engine without open requests and allocates its whole KV cache.
    ///
    /// # Errors
    ///
    /// When an option is out of range or the KV cache does not fit the memory.
    pub fn new(model: &'m LlamaModel, options: &EngineOptions) -> Result<Self, LlamaError> {
        let kv = check(model, options)?;
        let needed = kv.bytes(kv_per_token(model, options));
        let context = new_context(model, parameters(options, kv), needed)?;
        let limits = options.limits();
        Ok(Self {
            model,
            context,
            sequences: Sequences::new(limits),
            holders: vec![None; options.parallel as usize],
            kv_unified: options.kv_unified,
            prefixes: Prefixes::new(options.retained),
            has_copies_pending: false,
            batch: LlamaBatch::new(limits.kv.0 as usize, 1),
            rows: Vec::new(),
            piece: Vec::new(),
        })
    }

    /// Number of tokens in the cache according to llama.cpp. Tests compare it with the engine's own count,
    /// [`Engine::kv_used`].
    pub fn kv_held(&self) -> Tokens {
        let held = |place: u32| (self.context.kv_cache_seq_pos_max(place as i32) + 1).unsigned_abs();
        Tokens((0..self.limits().parallel).map(held).sum())
    }

    /// The prefix index, to be queried before a request is planned.
    pub fn prefixes(&self) -> SharedPrefixes {
        self.prefixes.shared()
    }

    /// Restores the cached prefixes of the prompts that begin in this step.
    fn recall(&mut self, step: &Step) -> Result<(), EngineError> {
        if self.has_copies_pending {
            return Ok(());
        }
        for chunk in &step.prefill {
            let sequence = self.sequences.get(chunk.request)?;
            let (Some(held), to, true) = (sequence.own.held, sequence.own.place, sequence.is_new()) else {
                continue;
            };
            let Some(found) = self.prefixes.take(chunk.request, &sequence.work.prompt_tokens) else {
                continue;
            };
            let open = self.holders.iter().flatten().find_map(|&request| {
                let own = &self.sequences.get(request).ok()?.own;
                (own.held == Some(found.held)).then_some(own.place)
            });
            let is_there = self.prefixes.restore(&mut self.context, found, open, to);
            let cached = if is_there { found.tokens } else { Tokens::ZERO };
            self.sequences.skip(chunk.request, cached)?;
            self.prefixes.skip(held, cached);
        }
        Ok(())
    }

    /// Moves requests into free places below them.
    ///
    /// With one cache per request llama.cpp runs only adjacent places together: a gap between two requests would cost
    /// every step another pass over the weights, a move costs one copy.
    fn close_gaps(&mut self) -> Result<(), EngineError> {
        loop {
            let gap = self.holders.iter().position(Option::is_none);
            let last = self.holders.iter().rposition(Option::is_some);
            let (Some(gap), Some(last)) = (gap, last) else { return Ok(()) };
            if gap > last {
                return Ok(());
            }
            self.holders.swap(gap, last);
            let request = self.holders[gap].expect("the last place had a request");
            let (from, to) = (Place(last as u32), Place(gap as u32));
            let sequence = self.sequences.get_mut(request)?;
            sequence.own.place = to;
            if sequence.kv() > Tokens::ZERO {
                let copied = self.context.kv_cache_seq_cp(from.0 as i32, to.0 as i32, None, None);
                copied.expect("a whole sequence has no position that could be too large");
                self.has_copies_pending = true;
                self.truncate(from, Tokens::ZERO);
            }
        }
    }

    /// Lists the requests of the step in its order, prefill first.
    fn list_rows(&mut self, step: &Step) -> Result<(), EngineError> {
        let chunks = step.prefill.iter().map(|chunk| (chunk.request, chunk.tokens));
        let decodes = step.decode.iter().map(|&request| (request, Tokens::ZERO));
        self.rows.clear();
        for (request, prefilled) in chunks.chain(decodes) {
            let sequence = self.sequences.get(request)?;
            let Open { place, held, .. } = sequence.own;
            // A cached prefix shortens a prompt's first chunk.
            let prefilled = prefilled.min(sequence.prompt_left());
            self.rows.push(Row { request, place, held, prefilled, last_index: 0 });
        }
        Ok(())
    }

    /// Writes the step's tokens into the batch in the order of their places, because separate caches need adjacent
    /// places next to each other.
    fn fill_batch(&mut self) -> Result<(), EngineError> {
        self.batch.clear();
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_unstable_by_key(|&index| self.rows[index].place);
        for index in order {
            let row = &mut self.rows[index];
            let sequence = self.sequences.get(row.request)?;
            let position = sequence.kv().0;
            let (tokens, wants_scores) = match row.prefilled {
                Tokens::ZERO => (std::slice::from_ref(&sequence.own.last), true),
                Tokens(count) => {
                    let start = sequence.prefilled.0 as usize;
                    let chunk = &sequence.work.prompt_tokens[start..start + count as usize];
                    (chunk, row.prefilled == sequence.prompt_left())
                }
            };
            for (offset, token) in (0..).zip(tokens) {
                let is_last = offset as usize + 1 == tokens.len();
                self.batch
                    .add(
                        LlamaToken(token.0),
                        (position + offset) as i32,
                        &[row.place.0 as i32],
                        wants_scores && is_last,
                    )
                    .expect("the batch holds as many tokens as the cache, and the step was checked");
            }
            row.last_index = self.batch.n_tokens() - 1;
        }
        Ok(())
    }

    /// Runs the batch. On failure, removes the tokens that it left in the cache.
    fn decode(&mut self) -> Result<(), EngineError> {
        let Err(error) = self.context.decode(&mut self.batch) else {
            self.has_copies_pending = false;
            return Ok(());
        };
        self.undo()?;
        Err(match error {
            DecodeError::NoKvCacheSlot => EngineError::KvFull { kv: self.limits().kv },
            DecodeError::NTokensZero => {
                EngineError::Backend { what: "checking the step's tokens".into(), code: -1 }
            }
            DecodeError::Unknown(code) => EngineError::Backend { what: "running the step".into(), code },
        })
    }

    /// Removes the tokens that the batch has put into the cache.
    fn undo(&mut self) -> Result<(), EngineError> {
        for index in 0..self.rows.len() {
            let row = self.rows[index];
            let held = self.sequences.get(row.request)?.kv();
            self.truncate(row.place, held);
        }
        Ok(())
    }

    /// Checks the scores of every request that produces a token. On failure, removes the batch's tokens from the cache.
    fn check_scores(&mut self) -> Result<(), EngineError> {
        for index in 0..self.rows.len() {
            let row = self.rows[index];
            let is_produced = match row.prefilled {
                Tokens::ZERO => true,
                prefilled => prefilled == self.sequences.get(row.request)?.prompt_left(),
            };
            if is_produced && !are_numbers(self.context.get_logits_ith(row.last_index)) {
                self.undo()?;
                return Err(EngineError::BadScores { request: row.request });
            }
        }
        Ok(())
    }

    /// Truncates a place to its first `length` tokens.
    fn truncate(&mut self, place: Place, length: Tokens) {
        let from = (length > Tokens::ZERO).then_some(length.0);
        let removed = self.context.clear_kv_cache_seq(Some(place.0), from, None);
        assert_eq!(removed, Ok(true), "llama.cpp did not truncate {place:?} to {length}");
    }

    /// Retains the cells of an ended request if the prefix index selects them, and frees its place.
    fn vacate(&mut self, place: Place, held: Option<HeldId>) {
        if let Some(held) = held {
            self.prefixes.end(&self.context, held, place, !self.has_copies_pending);
        }
        self.truncate(place, Tokens::ZERO);
        self.holders[place.0 as usize] = None;
    }

    /// Samples a token for every request with scores and passes it to the sink.
    fn collect(&mut self, sink: &mut dyn TokenSink) -> StepReport {
        let mut report =
            StepReport { progress: Vec::with_capacity(self.rows.len()), ..StepReport::default() };
        for index in 0..self.rows.len() {
            let row = self.rows[index];
            let (model, context, piece) = (self.model, &self.context, &mut self.piece);
            let mut token = TokenId(0);
            let mut text = String::new();
            let progress = self.sequences.advance(row.request, row.prefilled, |sequence| {
                token = sequence.own.chooser.choose(context, row.last_index);
                sequence.own.last = token;
                let (shown, end) = show(model, sequence, piece);
                text = shown;
                end
            });
            if let Some(held) = row.held {
                let computed = if row.prefilled > Tokens::ZERO { row.prefilled } else { Tokens(1) };
                self.prefixes.advance(held, computed, progress.produced.then_some(token));
            }
            if progress.produced {
                sink.token(Emission { request: row.request, token, text: &text, end: progress.end });
            }
            report.progress.push(progress);
        }
        report
    }
}

impl Engine for LlamaEngine<'_> {
    fn limits(&self) -> EngineLimits {
        self.sequences.limits()
    }

    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError> {
        let Self { model, holders, sequences, prefixes, .. } = self;
        let parallel = sequences.limits().parallel;
        sequences.open(request, work, |work| {
            if let Some(unknown) = work.prompt_tokens.iter().find(|&&token| !model.knows(token)) {
                // llama.cpp would refuse the whole step, and with it the tokens of all other requests.
                return Err(EngineError::Backend {
                    what: "reading a prompt's tokens".into(),
                    code: unknown.0,
                });
            }
            let free = holders.iter().position(Option::is_none);
            let free = free.ok_or(EngineError::NoSequenceFree { parallel })?;
            holders[free] = Some(request);
            let chooser = Chooser::new(model, work);
            let held = if work.cache_prompt { prefixes.open(&work.prompt_tokens) } else { None };
            Ok(Open {
                place: Place(free as u32),
                chooser,
                text: TextStream::new(work.stop.clone()),
                last: TokenId(0),
                held,
            })
        })
    }

    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError> {
        self.sequences.check(step)?;
        if step.is_empty() {
            return Ok(StepReport { kv_used: self.kv_used(), ..StepReport::default() });
        }
        self.recall(step)?;
        let started = Instant::now();
        if !self.kv_unified {
            self.close_gaps()?;
        }
        self.list_rows(step)?;
        self.fill_batch()?;
        self.decode()?;
        // A device computes asynchronously; without this it could still be busy when the time is taken.
        self.context.synchronize();
        self.check_scores()?;
        let mut report = self.collect(sink);
        // The time excludes prefix copies before and after the step: the cost model has no term for them.
        report.elapsed = Span(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        for (index, progress) in report.progress.iter().enumerate() {
            if progress.end.is_some() {
                let row = self.rows[index];
                self.vacate(row.place, row.held);
            }
        }
        report.kv_used = self.kv_used();
        Ok(report)
    }

    fn close(&mut self, request: RequestId) {
        if let Some(open) = self.sequences.close(request) {
            self.vacate(open.place, open.held);
        }
    }

    fn kv_used(&self) -> Tokens {
        self.sequences.kv_used()
    }
}

/// Whether scores are numbers. Some are looked at, because what is no number in a layer makes all scores none.
fn are_numbers(scores: &[f32]) -> bool {
    const LOOKED_AT: usize = 16;
    scores.iter().step_by(scores.len().div_ceil(LOOKED_AT).max(1)).all(|score| !score.is_nan())
}

/// The text that is final after the latest token, and why the token ends the answer, if it does.
fn show(
    model: &LlamaModel,
    sequence: &mut Sequence<Open<'_>>,
    piece: &mut Vec<u8>,
) -> (String, Option<EndReason>) {
    let Open { text, last, .. } = &mut sequence.own;
    let is_end = !sequence.work.ignore_eos && model.is_end(*last);
    let mut shown = String::new();
    if !is_end {
        piece.clear();
        model.token_bytes(*last, piece);
        shown = text.push(piece);
    }
    let stopped = text.is_stopped().then_some(EndReason::StopText);
    let end = is_end.then_some(EndReason::Stop).or(stopped);
    if end.is_some() || sequence.produced == sequence.work.max_output {
        shown.push_str(&text.finish());
    }
    (shown, end)
}

/// Checks the options and returns the number of cells of the cache.
fn check(model: &LlamaModel, options: &EngineOptions) -> Result<Tokens, LlamaError> {
    if options.parallel == 0 || options.parallel > PARALLEL_MAX {
        return Err(LlamaError::Parallel { parallel: options.parallel, most: PARALLEL_MAX });
    }
    let counts = [
        ("context", options.context.0),
        ("threads", options.threads),
        ("threads_batch", options.threads_batch),
        ("micro_batch", options.micro_batch.0),
    ];
    if let Some(&(field, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(LlamaError::Zero { field });
    }
    // llama.cpp rounds each request's cells up to a multiple of this, and counts them in 31 bits.
    const CELLS_STEP: u64 = 256;
    let cells = u64::from(options.context.0).next_multiple_of(CELLS_STEP) * u64::from(options.parallel);
    let retained = u64::from(options.context.0) * u64::from(options.retained);
    let per_token = kv_per_token(model, options).0;
    // A layer's cells are on the layer's device; retained cells are always in the machine's memory.
    let layers = u64::from(model.info().shape.layers).max(1);
    let offloaded = u64::from(model.gpu_layers().saturating_sub(1));
    let on_devices = Bytes(cells.saturating_mul(per_token / layers * offloaded));
    let all = cells.saturating_add(retained).saturating_mul(per_token);
    let is_shared = model.devices().iter().any(Device::shares_host_memory);
    let needed = Bytes(if is_shared { all } else { all.saturating_sub(on_devices.0) });
    // With too large a cache llama.cpp would fill the memory until the system kills the process.
    let machine = backend::memory();
    let device_memory = Bytes(model.devices().iter().map(|device| device.memory_total.0).sum());
    // A driver may not report the memory.
    if device_memory > Bytes::ZERO && on_devices > device_memory {
        let names: Vec<&str> = model.devices().iter().map(|device| device.name.as_str()).collect();
        let reason = format!("{} has {device_memory}", names.join(", "));
        return Err(LlamaError::Memory { needed: on_devices, reason });
    }
    match u32::try_from(cells) {
        Ok(cells) if cells <= i32::MAX as u32 && needed <= machine => Ok(Tokens(cells)),
        Ok(_) | Err(_) => Err(LlamaError::Memory { needed, reason: format!("this machine has {machine}") }),
    }
}

/// Creates a llama.cpp context whose cache needs `needed` bytes.
pub(crate) fn new_context<'m>(
    model: &'m LlamaModel,
    parameters: LlamaContextParams,
    needed: Bytes,
) -> Result<LlamaContext<'m>, LlamaError> {
    let backend = backend::get()?;
    log::with_reason(|| {
        // llama.cpp may write to the model while it creates a context.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        model.inner.new_context(backend, parameters)
    })
    .map_err(|reason| LlamaError::Memory { needed, reason })
}

/// Size of a token in the cache of an engine with these options.
fn kv_per_token(model: &LlamaModel, options: &EngineOptions) -> Bytes {
    ModelShape { kv_type: options.kv_type, ..model.info().shape }.kv_per_token()
}

pub(crate) fn parameters(options: &EngineOptions, kv: Tokens) -> LlamaContextParams {
    // `llama_flash_attn_type`, which the binding passes as a number: 0 off, 1 on.
    let flash_attention = i32::from(options.flash_attention);
    let kv_type = match options.kv_type {
        KvType::F16 => KvCacheType::F16,
        KvType::Q8_0 => KvCacheType::Q8_0,
        KvType::Q4_0 => KvCacheType::Q4_0,
    };
    let threads = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(kv.0))
        // A step may be as large as the cache, and llama.cpp aborts when a batch is larger than this.
        .with_n_batch(kv.0)
        .with_n_ubatch(options.micro_batch.0)
        .with_n_seq_max(options.parallel)
        .with_n_threads(threads(options.threads))
        .with_n_threads_batch(threads(options.threads_batch))
        .with_kv_unified(options.kv_unified)
        .with_flash_attention_policy(flash_attention)
        .with_type_k(kv_type)
        .with_type_v(kv_type)
        .with_no_perf(true)
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
