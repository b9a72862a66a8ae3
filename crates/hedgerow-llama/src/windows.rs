//! Evaluation of a given text: the scores of all next tokens at each position.
//!
//! The caller computes perplexity or divergence from them.

use std::num::NonZeroU32;

use hedgerow_core::engine::TokenId;
use hedgerow_core::units::Tokens;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::engine::new_context;
use crate::{LlamaError, LlamaModel};

/// Largest number of tokens per call of [`WindowReader::read`]; it bounds the memory for scores.
pub const PIECE_MAX: usize = 512;

/// Evaluates windows of text one after another, each from an empty cache.
pub struct WindowReader<'m> {
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    /// Number of tokens of the current window that were read.
    done: usize,
    window: usize,
    /// Index in the piece from which scores are kept.
    scored_from: usize,
    piece: usize,
}

impl<'m> WindowReader<'m> {
    /// Creates a reader for windows of `window` tokens; 0 threads mean one per core.
    ///
    /// # Errors
    ///
    /// When the cache does not fit the memory.
    pub fn new(model: &'m LlamaModel, window: Tokens, threads: u32) -> Result<Self, LlamaError> {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if threads == 0 { cores() } else { threads as usize };
        let threads = i32::try_from(threads).unwrap_or(i32::MAX);
        let window_size = NonZeroU32::new(window.0).ok_or(LlamaError::Zero { field: "ctx" })?;
        let piece = (window.0).min(PIECE_MAX as u32);
        let parameters = LlamaContextParams::default()
            .with_n_ctx(Some(window_size))
            .with_n_batch(piece)
            .with_n_ubatch(piece)
            .with_n_seq_max(1)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_no_perf(true);
        let context = new_context(model, parameters, window.bytes(model.info().shape.kv_per_token()))?;
        let batch = LlamaBatch::new(piece as usize, 1);
        Ok(Self { context, batch, done: 0, window: window.0 as usize, scored_from: 0, piece: 0 })
    }

    /// Begins a new window with an empty cache.
    pub fn begin(&mut self) {
        self.context.clear_kv_cache();
        (self.done, self.piece) = (0, 0);
    }

    /// Reads the next piece of the window and keeps the scores after each of its tokens from `scored_from` on.
    ///
    /// # Errors
    ///
    /// When llama.cpp fails.
    ///
    /// # Panics
    ///
    /// If the piece is empty, or longer than [`PIECE_MAX`] or the rest of the window.
    pub fn read(&mut self, piece: &[TokenId], scored_from: usize) -> Result<(), LlamaError> {
        assert!(
            (1..=PIECE_MAX).contains(&piece.len()) && self.done + piece.len() <= self.window,
            "a piece of {} after {} tokens of a window of {}",
            piece.len(),
            self.done,
            self.window
        );
        let failed = |reason: String| LlamaError::Read { reason };
        self.batch.clear();
        for (index, token) in piece.iter().enumerate() {
            let position = (self.done + index) as i32;
            self.batch
                .add(LlamaToken(token.0), position, &[0], index >= scored_from)
                .map_err(|error| failed(error.to_string()))?;
        }
        self.context.decode(&mut self.batch).map_err(|error| failed(error.to_string()))?;
        self.done += piece.len();
        (self.scored_from, self.piece) = (scored_from, piece.len());
        Ok(())
    }

    /// The scores of the whole vocabulary after the `index`th token of the latest piece: logarithms of unnormalized
    /// probabilities (logits).
    ///
    /// # Panics
    ///
    /// If no scores were kept there.
    pub fn scores(&self, index: usize) -> &[f32] {
        let (from, piece) = (self.scored_from, self.piece);
        assert!((from..piece).contains(&index), "scores were kept of {from}..{piece}, not of {index}");
        self.context.get_logits_ith(index as i32)
    }
}
