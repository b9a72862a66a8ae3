//! Draws requests reproducibly from a pattern and a seed.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_workload::{Purpose, pick, stream};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::arrivals::Arrival;
use super::{Arrivals, Class, Request};

/// The distribution that a workload is drawn from.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The arrival process.
    pub arrivals: Arrivals,
    /// The request classes; never empty.
    pub classes: Vec<Class>,
    /// The length of the prefix that all prompts share, in tokens.
    pub shared_prefix: u32,
    /// Whether requests have the deadlines of their classes.
    pub has_deadlines: bool,
}

/// The seeds of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// Seeds the arrivals, classes and lengths.
    pub load: u64,
    /// Seeds the words of prompts. It differs for each workload that a server is offered, because a server may have
    /// cached an earlier prompt.
    pub words: u64,
}

impl Pattern {
    /// Draws every request of an open loop, in order of time.
    ///
    /// # Errors
    ///
    /// When a trace is too slow for this rate or too short for this duration.
    pub fn open_loop(
        &self,
        rate_per_s: f64,
        duration: Duration,
        seeds: Seeds,
    ) -> anyhow::Result<Vec<Request>> {
        let mut draws = self.draws(seeds);
        let arrivals = self.arrivals.draw(rate_per_s, duration, seeds.load)?;
        let request = |Arrival { at, lengths }| match lengths {
            None => Request { at, ..draws.any() },
            Some((prompt_tokens, output_tokens)) => {
                let class = Class::closest(&self.classes, output_tokens);
                Request { at, ..draws.of(class, prompt_tokens, output_tokens) }
            }
        };
        Ok(arrivals.into_iter().map(request).collect())
    }

    /// Draws requests one after the other, without times. Lengths come from the classes, even with a trace.
    pub fn draws(&self, seeds: Seeds) -> Draws {
        let system = (self.shared_prefix > 0)
            .then(|| text(self.shared_prefix, &mut stream(seeds.load, Purpose::Prefix)).into());
        Draws {
            classes: self.classes.clone(),
            has_deadlines: self.has_deadlines,
            system,
            class: stream(seeds.load, Purpose::Classes),
            prompts: stream(seeds.load, Purpose::Prompts),
            outputs: stream(seeds.load, Purpose::Outputs),
            words: stream(seeds.words, Purpose::Words),
        }
    }
}

/// An endless stream of requests.
#[derive(Clone, Debug)]
pub struct Draws {
    classes: Vec<Class>,
    has_deadlines: bool,
    system: Option<Arc<str>>,
    class: ChaCha8Rng,
    prompts: ChaCha8Rng,
    outputs: ChaCha8Rng,
    words: ChaCha8Rng,
}

impl Draws {
    /// Draws the next request, of any class.
    pub(super) fn any(&mut self) -> Request {
        let class = pick(self.classes.iter().map(|class| class.part), &mut self.class);
        let one_of = |range: &RangeInclusive<u32>, draws: &mut ChaCha8Rng| draws.random_range(range.clone());
        let prompt_tokens = one_of(&self.classes[class].prompt_tokens, &mut self.prompts);
        let output_tokens = one_of(&self.classes[class].output_tokens, &mut self.outputs);
        self.of(class, prompt_tokens, output_tokens)
    }

    /// Draws the next request, of this class and with these lengths.
    fn of(&mut self, class: usize, prompt_tokens: u32, output_tokens: u32) -> Request {
        let Class { deadline, min_quality, .. } = self.classes[class];
        Request {
            at: Duration::ZERO,
            class,
            system: self.system.clone(),
            prompt: text(prompt_tokens, &mut self.words),
            prompt_tokens,
            output_tokens,
            deadline: deadline.filter(|_| self.has_deadlines),
            min_quality,
        }
    }
}

/// Returns random words, one token each where a vocabulary has whole words. No two texts share more than a few words
/// at their beginning, so that no prefix cache helps.
fn text(tokens: u32, random: &mut ChaCha8Rng) -> String {
    const WORDS: [&str; 64] = [
        "hedge", "garden", "river", "stone", "winter", "bird", "path", "bread", "lamp", "field", "music",
        "paper", "cloud", "green", "quiet", "early", "small", "bright", "walk", "build", "carry", "open",
        "under", "between", "water", "house", "light", "north", "south", "horse", "table", "window",
        "summer", "night", "morning", "story", "letter", "number", "color", "sound", "voice", "hand",
        "heart", "road", "tree", "leaf", "rain", "snow", "wind", "fire", "earth", "metal", "glass", "wood",
        "school", "city", "village", "market", "ship", "train", "bridge", "mountain", "valley", "island",
    ];
    let words: Vec<&str> = (0..tokens).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use hedgerow_workload::{Trace, TraceFit};

    const LONG: Duration = Duration::from_secs(1000);

    fn pattern(arrivals: Arrivals) -> Pattern {
        Pattern { arrivals, classes: Class::built_in(), shared_prefix: 0, has_deadlines: true }
    }

    fn poisson() -> Pattern {
        pattern(Arrivals::Gamma { shape: 1.0 })
    }

    fn drawn(rate_per_s: f64, load: u64, words: u64) -> Vec<Request> {
        poisson().open_loop(rate_per_s, LONG, Seeds { load, words }).unwrap()
    }

    #[test]
    fn the_same_seeds_draw_the_same_workload() {
        assert_eq!(drawn(2.0, 1, 1), drawn(2.0, 1, 1));
        assert_ne!(drawn(2.0, 1, 1), drawn(2.0, 2, 1));
    }

    #[test]
    fn other_words_and_other_rates_leave_the_lengths_as_they_were() {
        let lengths = |requests: Vec<Request>| -> Vec<(usize, u32, u32)> {
            let first = requests.into_iter().take(500);
            first.map(|request| (request.class, request.prompt_tokens, request.output_tokens)).collect()
        };
        assert_eq!(lengths(drawn(2.0, 1, 1)), lengths(drawn(2.0, 1, 2)));
        assert_eq!(lengths(drawn(2.0, 1, 1)), lengths(drawn(8.0, 1, 1)));
    }

    #[test]
    fn no_two_prompts_of_any_workload_begin_alike() {
        let begins = |words| {
            let requests = drawn(2.0, 1, words).into_iter();
            requests.map(|request| request.prompt.split(' ').take(8).collect::<Vec<_>>().join(" "))
        };
        let all: Vec<String> = begins(1).chain(begins(2)).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn classes_have_their_fractions_and_lengths() {
        let (classes, requests) = (Class::built_in(), drawn(4.0, 1, 1));
        for (index, class) in classes.iter().enumerate() {
            let own: Vec<&Request> = requests.iter().filter(|request| request.class == index).collect();
            let expected = class.part * requests.len() as f64;
            assert!((own.len() as f64 - expected).abs() < 4.0 * expected.sqrt(), "{}", class.name);
            for request in own {
                assert!(class.prompt_tokens.contains(&request.prompt_tokens));
                assert!(class.output_tokens.contains(&request.output_tokens));
                assert_eq!(request.prompt.split(' ').count(), request.prompt_tokens as usize);
                assert_eq!(request.deadline, class.deadline);
            }
        }
    }

    #[test]
    fn a_trace_gives_lengths_and_the_classes_give_deadlines() {
        let line = |second: u32, output: u32| format!("2023-11-16 18:15:{second:02}.0,400,{output}\n");
        let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{}{}", line(0, 80), line(5, 1600));
        let path = std::env::temp_dir().join(format!("hedgerow-trace-{}.csv", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let trace = Trace::load(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let fit = TraceFit { scale_prompt: 0.5, scale_output: 0.25, max_prompt: 4096, max_output: 300 };
        let rate = trace.rate_per_s();
        let arrivals = Arrivals::Trace { trace: Arc::new(trace), start: Some(Duration::ZERO), fit };
        let seeds = Seeds { load: 1, words: 1 };
        let requests = pattern(arrivals).open_loop(rate, Duration::from_secs(5), seeds).unwrap();
        // The last request of a trace is at its end, which no window contains.
        assert_eq!(requests.len(), 1);
        let Request { class, prompt_tokens, output_tokens, deadline, .. } = requests[0];
        assert_eq!((class, prompt_tokens, output_tokens), (0, 200, 20));
        assert_eq!(deadline, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_shared_prefix_is_the_same_for_all_and_deadlines_can_be_left_out() {
        let pattern = Pattern { shared_prefix: 50, has_deadlines: false, ..poisson() };
        let mut draws = pattern.draws(Seeds { load: 1, words: 1 });
        let (one, two) = (draws.any(), draws.any());
        assert_eq!(one.system, two.system);
        assert_eq!(one.system.unwrap().split(' ').count(), 50);
        assert_eq!(one.deadline, None);
    }
}
