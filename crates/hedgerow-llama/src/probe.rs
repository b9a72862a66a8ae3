//! Scores of a model for a fixed text, to compare kernels.

use hedgerow_core::engine::TokenId;
use hedgerow_core::units::Tokens;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::engine::{EngineOptions, new_context, parameters};
use crate::{LlamaError, LlamaModel};

/// Number of tokens of each pass of [`probe`]. llama.cpp has kernels for one token, for blocks of four and for whole
/// tiles of 16 or 32; the first pass has two tiles and one more token.
pub const PROBE_PASSES: [usize; 3] = [33, 4, 1];

/// Runs a text through the model in [`PROBE_PASSES`], with the settings of an engine with these options, and returns
/// the scores of the whole vocabulary at some positions: after the first pass, after each token of the second, and
/// after the third.
///
/// A text that is too short is repeated.
///
/// # Errors
///
/// When the text is empty, the cache does not fit the memory, or llama.cpp fails.
pub fn probe(
    model: &LlamaModel,
    options: &EngineOptions,
    text: &[TokenId],
) -> Result<Vec<Vec<f32>>, LlamaError> {
    let failed = |reason: String| LlamaError::Read { reason };
    if text.is_empty() {
        return Err(failed("there is no text".to_owned()));
    }
    // llama.cpp rounds a cache up to this size.
    let cache = Tokens(256);
    let options = EngineOptions { parallel: 1, context: cache, retained: 0, ..*options };
    let needed = cache.bytes(model.info().shape.kv_per_token());
    let mut context = new_context(model, parameters(&options, cache), needed)?;
    let mut batch = LlamaBatch::new(PROBE_PASSES[0], 1);
    let mut tokens = text.iter().cycle().zip(0..);
    let mut scores = Vec::new();
    for length in PROBE_PASSES {
        batch.clear();
        // The output matrix is the largest, so only the short second pass runs it for several tokens at once.
        let scored_from = if length == PROBE_PASSES[1] { 0 } else { length - 1 };
        for (index, (token, position)) in tokens.by_ref().take(length).enumerate() {
            batch
                .add(LlamaToken(token.0), position, &[0], index >= scored_from)
                .map_err(|error| failed(error.to_string()))?;
        }
        context.decode(&mut batch).map_err(|error| failed(error.to_string()))?;
        scores.extend((scored_from..length).map(|index| context.get_logits_ith(index as i32).to_vec()));
    }
    Ok(scores)
}
