//! Random numbers: one named generator with one stream per purpose.
//!
//! Streams are independent, so a change of one setting (the policy, the rate, the deadlines) leaves all other draws
//! unchanged, and two runs can be compared request by request (common random numbers).

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The purpose of a stream. A seed's results depend on the numbers: never reuse one.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Times between arrivals.
    Arrivals = 0,
    /// Prompt lengths.
    Prompts = 1,
    /// Output limits.
    Outputs = 2,
    /// Answer lengths.
    Answers = 3,
    /// Deadlines.
    Deadlines = 4,
    /// Quality floors.
    Qualities = 5,
    /// Distances of users from the node.
    Places = 6,
    /// Small-scale fading.
    Fading = 7,
    /// How long users wait before they cancel.
    Patience = 8,
    /// Directions of users from the node.
    Angles = 9,
    /// Which of the moving users sends a request.
    Walkers = 10,
    /// Headings of moving users.
    Headings = 11,
    /// Shadowing.
    Shadowing = 12,
    /// Line of sight.
    Sight = 13,
    /// Change of the channel between an estimate and its use.
    EstimateAging = 14,
    /// Errors of the channel estimates.
    Estimates = 15,
    /// Classes of requests.
    Classes = 16,
    /// Payload besides the tokens.
    Payloads = 17,
    /// Hints about answer lengths.
    Hints = 18,
    /// Lengths of *on* and *off* periods.
    Bursts = 19,
    /// Thinning of traces and of diurnal arrivals.
    Thinning = 20,
    /// Where in a trace a run begins.
    TraceStart = 21,
    /// Words of prompts.
    Words = 22,
    /// Words of the prefix that all prompts share.
    Prefix = 23,
}

/// Creates the stream of a seed for a purpose. ChaCha8 gives the same values on every machine and in every version.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(purpose as u64);
    generator
}

/// Draws an index with probability proportional to its weight; with one weight, nothing is drawn.
pub fn pick(weights: impl ExactSizeIterator<Item = f64> + Clone, draws: &mut ChaCha8Rng) -> usize {
    let last = weights.len().saturating_sub(1);
    if last == 0 {
        return 0;
    }
    let mut point = draws.random::<f64>() * weights.clone().sum::<f64>();
    let is_here = |weight: f64| {
        point -= weight;
        point < 0.0
    };
    // Rounding may leave a small remainder after the last weight.
    weights.map(is_here).position(|is_here| is_here).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let first = |purpose| stream(7, purpose).random::<u64>();
        assert_ne!(first(Purpose::Arrivals), first(Purpose::Prompts));
        assert_eq!(first(Purpose::Fading), first(Purpose::Fading));
    }

    #[test]
    fn an_index_is_drawn_in_proportion_to_its_weight() {
        let mut draws = stream(1, Purpose::Classes);
        let mut counts = [0_u32; 3];
        (0..10_000).for_each(|_| counts[pick([1.0, 0.0, 3.0].into_iter(), &mut draws)] += 1);
        assert!(counts[0].abs_diff(2_500) < 200 && counts[1] == 0, "{counts:?}");
    }
}
