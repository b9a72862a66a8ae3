//! Random numbers: one named generator with one stream per purpose.
//!
//! Streams are independent, so a change of one setting (the policy, the rate, the deadlines) leaves all other draws
//! unchanged, and two runs can be compared request by request (common random numbers).

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// The purpose of a stream. A seed's results depend on the numbers: never reuse one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
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
}

/// Creates the stream of a seed for a purpose. ChaCha8 gives the same values on every machine and in every version.
pub(crate) fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(purpose as u64);
    generator
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let first = |purpose| stream(7, purpose).random::<u64>();
        assert_ne!(first(Purpose::Arrivals), first(Purpose::Prompts));
        assert_eq!(first(Purpose::Fading), first(Purpose::Fading));
    }
}
