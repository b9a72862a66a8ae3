//! Chance: one named generator, one stream for each purpose.
//!
//! Streams do not touch each other, so a change of one setting (the policy, the rate, the deadlines)
//! leaves every other draw as it was, and two runs can be compared request by request.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// What a stream of draws is for. The numbers are part of what a seed means: never reuse one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Times between arrivals.
    Arrivals = 0,
    /// Prompt lengths.
    Prompts = 1,
    /// The most tokens asked for.
    Outputs = 2,
    /// How many of them the answer takes.
    Answers = 3,
    /// Deadlines.
    Deadlines = 4,
    /// Quality floors.
    Qualities = 5,
    /// Where users stand.
    Places = 6,
    /// Fading.
    Fading = 7,
    /// How long users wait before they go away.
    Patience = 8,
    /// Which way users stand from the node.
    Angles = 9,
    /// Which of the users who walk about asks.
    Walkers = 10,
    /// Where they walk.
    Headings = 11,
    /// What stands in the way.
    Shadows = 12,
    /// Who sees the node.
    Sight = 13,
    /// What becomes of the channel between an estimate and its use.
    Meanwhile = 14,
    /// Errors of the node's estimates.
    Estimates = 15,
    /// Which class a request is of.
    Classes = 16,
    /// Payload besides the tokens.
    Payloads = 17,
    /// What callers expect of their answers' lengths.
    Hints = 18,
    /// How long bursts and pauses are.
    Bursts = 19,
    /// Which requests of a trace, or of a busy hour, come.
    Thinning = 20,
}

/// The stream of a seed for a purpose. ChaCha8 gives the same values on every machine and in every version.
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
