//! Sampling: chooses a token from the scores of the vocabulary.

use hedgerow_core::engine::{GenerationTask, Sampling, TokenId};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;

use crate::LlamaModel;

/// The sampler of a request.
pub(crate) enum Chooser<'m> {
    /// Greedy: the most probable token, directly from the scores. llama.cpp's samplers would first build a list of
    /// all tokens of the vocabulary, which takes longer than finding the largest score.
    Likeliest {
        /// Forbidden tokens, in ascending order.
        forbidden: &'m [LlamaToken],
    },
    /// llama.cpp's samplers, in llama-server's order.
    Chain(LlamaSampler),
}

/// Temperatures below this are taken as 0: scores divided by less could overflow, and at this temperature the most
/// probable token already wins unless the next is within a hundredth of a percent.
const TEMPERATURE_MIN: f32 = 1e-4;

impl<'m> Chooser<'m> {
    /// Creates the sampler of a task. A setting that is not a number is replaced by its neutral value.
    pub(crate) fn new(model: &'m LlamaModel, work: &GenerationTask) -> Self {
        let forbidden = model.forbidden(work.ignore_eos);
        let sampling = neutral_where_not_a_number(work.sampling);
        let window = penalty_window(&sampling, work);
        let is_greedy = sampling.temperature < TEMPERATURE_MIN || sampling.top_k == 1;
        if is_greedy && window == 0 {
            return Self::Likeliest { forbidden };
        }
        let mut chain = LlamaSampler::chain(samplers(model, &sampling, forbidden, window, is_greedy), true);
        // Like llama-server, penalties also count the prompt's tokens.
        let first = work.prompt_tokens.len().saturating_sub(window as usize);
        chain.accept_many(work.prompt_tokens[first..].iter().map(|token| LlamaToken(token.0)));
        Self::Chain(chain)
    }

    /// Chooses a token from the scores of the batch's token at `row`, and records it for the penalties.
    pub(crate) fn choose(&mut self, context: &LlamaContext<'_>, row: i32) -> TokenId {
        let token = match self {
            Self::Likeliest { forbidden } => likeliest(context.get_logits_ith(row), forbidden),
            Self::Chain(chain) => chain.sample(context, row),
        };
        TokenId(token.0)
    }
}

/// Length of the penalty window in tokens; 0 if all penalties are neutral. At most the request's maximum length,
/// because llama.cpp allocates the whole window.
fn penalty_window(sampling: &Sampling, work: &GenerationTask) -> u32 {
    let is_neutral = sampling.repeat_penalty == 1.0
        && sampling.frequency_penalty == 0.0
        && sampling.presence_penalty == 0.0;
    let length_max = (work.prompt_tokens.len() as u32).saturating_add(work.max_output.0);
    if is_neutral { 0 } else { sampling.penalty_window.min(length_max) }
}

fn samplers(
    model: &LlamaModel,
    sampling: &Sampling,
    forbidden: &[LlamaToken],
    window: u32,
    is_greedy: bool,
) -> Vec<LlamaSampler> {
    let vocabulary = model.inner.n_vocab();
    let clamped = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let mut samplers = Vec::new();
    if !forbidden.is_empty() {
        let never: Vec<_> =
            forbidden.iter().map(|&token| LlamaLogitBias::new(token, f32::NEG_INFINITY)).collect();
        samplers.push(LlamaSampler::logit_bias(vocabulary, &never));
    }
    if window > 0 {
        samplers.push(LlamaSampler::penalties(
            vocabulary,
            clamped(window),
            sampling.repeat_penalty,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        ));
    }
    if is_greedy {
        samplers.push(LlamaSampler::greedy());
        return samplers;
    }
    if sampling.top_k > 0 {
        samplers.push(LlamaSampler::top_k(clamped(sampling.top_k)));
    }
    if sampling.top_p < 1.0 {
        samplers.push(LlamaSampler::top_p(sampling.top_p, 1));
    }
    if sampling.min_p > 0.0 {
        samplers.push(LlamaSampler::min_p(sampling.min_p, 1));
    }
    samplers.push(LlamaSampler::temp(sampling.temperature));
    // llama.cpp takes the largest seed as a request for a random one, so it is avoided.
    samplers.push(LlamaSampler::dist(sampling.seed.min(u32::MAX - 1)));
    samplers
}

fn neutral_where_not_a_number(sampling: Sampling) -> Sampling {
    let or = |value: f32, neutral: f32| if value.is_finite() { value } else { neutral };
    Sampling {
        temperature: or(sampling.temperature, 1.0),
        top_p: or(sampling.top_p, 1.0),
        min_p: or(sampling.min_p, 0.0),
        // llama.cpp divides by the penalty, so it must be positive.
        repeat_penalty: if sampling.repeat_penalty > 0.0 { or(sampling.repeat_penalty, 1.0) } else { 1.0 },
        frequency_penalty: or(sampling.frequency_penalty, 0.0),
        presence_penalty: or(sampling.presence_penalty, 0.0),
        ..sampling
    }
}

/// The allowed token with the largest score; the first of equal ones, like llama.cpp.
fn likeliest(scores: &[f32], forbidden: &[LlamaToken]) -> LlamaToken {
    let allowed = |index: usize| forbidden.binary_search(&LlamaToken(index as i32)).is_err();
    let mut best = index_of_largest(scores);
    if !allowed(best) {
        // Rare: the model would end the answer, but the request ignores ends.
        let others = (0..scores.len()).filter(|&index| allowed(index));
        best = others
            .fold(None, |best: Option<usize>, index| match best {
                Some(best) if scores[best] >= scores[index] => Some(best),
                Some(_) | None => Some(index),
            })
            .unwrap_or(best);
    }
    LlamaToken(best as i32)
}

/// The first index of the largest number; 0 if the slice is empty.
///
/// Finds the block with the largest number first and then the number, because the first search can be vectorized.
fn index_of_largest(numbers: &[f32]) -> usize {
    const BLOCK: usize = 1024;
    let mut best = f32::NEG_INFINITY;
    let mut best_block = 0;
    for (block, numbers) in numbers.chunks(BLOCK).enumerate() {
        let largest = largest(numbers);
        if largest > best {
            best = largest;
            best_block = block;
        }
    }
    let start = best_block * BLOCK;
    let within = numbers[start..].iter().position(|&number| number == best);
    within.map_or(0, |index| start + index)
}

fn largest(numbers: &[f32]) -> f32 {
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (rows, rest) = numbers.as_chunks::<LANES>();
    for row in rows {
        for (lane, &number) in lanes.iter_mut().zip(row) {
            *lane = larger(*lane, number);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_of_the_largest_wherever_it_is() {
        for length in [1, 15, 16, 17, 1023, 1024, 1025, 5000] {
            for place in [0, length / 2, length - 1] {
                let mut numbers = vec![-1.5; length];
                numbers[place] = 3.0;
                assert_eq!(index_of_largest(&numbers), place, "of {length}");
                numbers[length - 1] = 3.0;
                assert_eq!(index_of_largest(&numbers), place, "of {length}, with an equal at the end");
            }
        }
    }

    #[test]
    fn survives_scores_that_are_not_numbers() {
        assert_eq!(index_of_largest(&[]), 0);
        assert_eq!(index_of_largest(&[f32::NAN, f32::NAN]), 0);
        assert_eq!(index_of_largest(&[f32::NAN, 1.0, f32::NAN]), 1);
        assert_eq!(index_of_largest(&[f32::NEG_INFINITY; 3]), 0);
    }

    #[test]
    fn takes_the_next_best_when_the_best_is_forbidden() {
        let scores = [0.0, 9.0, 5.0, 8.0];
        assert_eq!(likeliest(&scores, &[]), LlamaToken(1));
        assert_eq!(likeliest(&scores, &[LlamaToken(0), LlamaToken(1)]), LlamaToken(3));
    }
}
