//! The load: who asks for what, and when.

use std::time::Duration;

use hedgerow_core::engine::EngineLimits;
use hedgerow_core::engine::cost::MeasuredCost;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Plan;

/// A kind of caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Class {
    pub(crate) name: &'static str,
    /// Part of all requests.
    pub(crate) part: f64,
    /// Words of the question; a word is a little more than a token.
    pub(crate) words: u32,
    /// Tokens of the answer.
    pub(crate) output: u32,
    /// End-to-end deadline.
    pub(crate) deadline: Duration,
}

/// A voice assistant, somebody at a screen, and a report.
pub(crate) const CLASSES: [Class; 3] = [
    Class { name: "urgent", part: 0.4, words: 24, output: 16, deadline: Duration::from_secs(2) },
    Class { name: "middling", part: 0.4, words: 60, output: 48, deadline: Duration::from_secs(8) },
    Class { name: "patient", part: 0.2, words: 160, output: 128, deadline: Duration::from_secs(30) },
];

/// One request of the load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// When, from the start of the run.
    pub(crate) at: Duration,
    pub(crate) class: Class,
    pub(crate) question: String,
}

/// Everything that will be asked.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Requests a second that the machine can carry, by its measured step times.
    pub(crate) capacity_per_s: f64,
    /// Requests a second that are offered.
    pub(crate) rate_per_s: f64,
    pub(crate) arrivals: Vec<Arrival>,
}

/// Tokens that a question takes beside its words: the chat template's own, and the number it begins with.
const TOKENS_AROUND: u32 = 36;

impl Load {
    /// Draws Poisson arrivals at `plan.overload` times what the machine can carry.
    pub(crate) fn draw(cost: &MeasuredCost, limits: EngineLimits, plan: &Plan) -> Self {
        let work_s: f64 = CLASSES.iter().map(|class| class.part * work_s(class, cost, limits.parallel)).sum();
        let capacity_per_s = 1.0 / work_s;
        let rate_per_s = capacity_per_s * plan.overload;
        let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
        let mut arrivals = Vec::new();
        let mut at_s = 0.0;
        loop {
            // The gaps of a Poisson process are exponential.
            at_s += -(1.0 - random.random::<f64>()).ln() / rate_per_s;
            if at_s >= plan.duration.as_secs_f64() {
                return Self { capacity_per_s, rate_per_s, arrivals };
            }
            let class = pick(random.random());
            let question = question(arrivals.len(), class.words, &mut random);
            arrivals.push(Arrival { at: Duration::from_secs_f64(at_s), class, question });
        }
    }
}

/// A request's part of the machine's time when the batch is full.
fn work_s(class: &Class, cost: &MeasuredCost, parallel: u32) -> f64 {
    let prompt = class.words + TOKENS_AROUND;
    // On average half of the answer is there.
    let held = u64::from(parallel) * u64::from(prompt + class.output / 2);
    let step = cost.decode.at(parallel, held).as_seconds() / f64::from(parallel);
    cost.prefill.at(prompt, 0).as_seconds() + f64::from(class.output) * step
}

fn pick(mut point: f64) -> Class {
    for class in CLASSES {
        point -= class.part;
        if point < 0.0 {
            return class;
        }
    }
    CLASSES[CLASSES.len() - 1]
}

/// A question that nobody asked before, so that no cache can answer it.
fn question(number: usize, words: u32, random: &mut ChaCha8Rng) -> String {
    const WORDS: [&str; 24] = [
        "hedge", "garden", "river", "stone", "winter", "bird", "path", "bread", "lamp", "field", "music",
        "paper", "cloud", "green", "quiet", "early", "small", "bright", "walk", "build", "carry", "open",
        "under", "between",
    ];
    let list: Vec<&str> = (0..words).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect();
    format!("Question {number}: tell a story about {}.", list.join(" "))
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::cost::Surface;
    use hedgerow_core::scheduler::Policy;
    use hedgerow_core::time::Span;
    use hedgerow_core::units::Tokens;

    use super::*;

    fn draw(seed: u64) -> Load {
        let cost = MeasuredCost {
            prefill: Surface::level(&[(100, Span::from_millis(100))]),
            decode: Surface::level(&[(16, Span::from_millis(16))]),
            mixed_ns: 0,
        };
        let limits = EngineLimits { parallel: 16, context: Tokens(2048), kv: Tokens(32768) };
        let plan =
            Plan { duration: Duration::from_secs(100), overload: 1.5, seed, policies: vec![Policy::Fifo] };
        Load::draw(&cost, limits, &plan)
    }

    #[test]
    fn the_same_seed_draws_the_same_load_at_the_rate_that_was_asked_for() {
        let load = draw(1);
        assert_eq!(load.arrivals, draw(1).arrivals);
        assert_ne!(load.arrivals, draw(2).arrivals);
        // Work a request: 0.4·(60 + 16) + 0.4·(96 + 48) + 0.2·(196 + 128) = 152.8 ms.
        assert!((load.capacity_per_s - 1.0 / 0.1528).abs() < 1e-9);
        let expected = 100.0 * load.rate_per_s;
        assert!((load.arrivals.len() as f64 - expected).abs() < 4.0 * expected.sqrt());
    }

    #[test]
    fn the_parts_of_the_classes_add_up() {
        assert!((CLASSES.iter().map(|class| class.part).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
