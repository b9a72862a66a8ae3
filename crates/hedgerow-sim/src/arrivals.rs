//! Users: who comes when, and what they ask for.

use hedgerow_core::request::{Link, Request, RequestId};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bits, Quality, Tokens};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use crate::channel::GainDraws;
use crate::random::{self, Purpose};
use crate::scenario::{Extent, Range, Scenario, Users};

/// A request and what only its user knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// What the node is told.
    pub request: Request,
    /// When it is told: not before the request has arrived, and later where somebody had to read it first.
    pub told: Instant,
    /// Tokens after which the answer ends by itself; at most what was asked for.
    pub answer: Tokens,
    /// When the user goes away; `None` means never.
    pub leaves: Option<Instant>,
}

/// The scenario's arrivals in order of time: a Poisson process. They depend on the seed and the users
/// only, never on what the node does with them.
#[derive(Clone, Debug)]
pub struct Arrivals {
    users: Users,
    extent: Extent,
    gains: Option<GainDraws>,
    bits_per_token: f64,
    draws: Draws,
    last: Instant,
    count: u64,
}

/// One stream of draws for each thing that is drawn.
#[derive(Clone, Debug)]
struct Draws {
    gaps: ChaCha8Rng,
    prompts: ChaCha8Rng,
    outputs: ChaCha8Rng,
    answers: ChaCha8Rng,
    deadlines: ChaCha8Rng,
    qualities: ChaCha8Rng,
    patience: ChaCha8Rng,
}

impl Arrivals {
    /// All arrivals of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let stream = |purpose| random::stream(scenario.seed, purpose);
        Self {
            users: scenario.users.clone(),
            extent: scenario.extent,
            gains: scenario.cell.clone().map(|cell| GainDraws::new(cell, scenario.seed)),
            bits_per_token: scenario.cell.as_ref().map_or(0.0, |cell| cell.bits_per_token),
            draws: Draws {
                gaps: stream(Purpose::Arrivals),
                prompts: stream(Purpose::Prompts),
                outputs: stream(Purpose::Outputs),
                answers: stream(Purpose::Answers),
                deadlines: stream(Purpose::Deadlines),
                qualities: stream(Purpose::Qualities),
                patience: stream(Purpose::Patience),
            },
            last: Instant::START,
            count: 0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let Draws { gaps, prompts, outputs, answers, deadlines, qualities, patience } = &mut self.draws;
        let users = &self.users;
        // The gaps of a Poisson process are exponential.
        let gap_s: f64 = Exp1.sample(gaps);
        let arrived = self.last + Span::from_seconds(gap_s / users.rate_per_s);
        match self.extent {
            Extent::Requests(requests) if self.count == requests => return None,
            Extent::Duration(duration) if arrived > Instant::START + duration => return None,
            Extent::Requests(_) | Extent::Duration(_) => {}
        }
        let id = RequestId(self.count);
        (self.last, self.count) = (arrived, self.count + 1);

        let prompt = one_of(&users.prompts, prompts);
        let max_output = one_of(&users.outputs, outputs);
        let answer = f64::from(max_output.0) * within(users.answer_part, answers);
        let after = |range: &Option<Range>, draws: &mut ChaCha8Rng| {
            range.map(|range| arrived + Span::from_seconds(within(range, draws)))
        };
        let payload = |tokens: Tokens| Bits::new(f64::from(tokens.0) * self.bits_per_token);
        let request = Request {
            deadline: after(&users.deadline_s, deadlines),
            min_quality: Quality::new(within(users.min_quality, qualities)).expect("the range lies in 0..=1"),
            link: self.gains.as_mut().map(|gains| Link::Radio {
                gain: gains.draw(),
                uplink: payload(prompt),
                downlink: payload(max_output),
            }),
            ..Request::new(id, arrived, prompt, max_output)
        };
        Some(Arrival {
            request,
            told: arrived,
            answer: Tokens((answer.ceil() as u32).clamp(1, max_output.0)),
            leaves: after(&users.patience_s, patience),
        })
    }
}

fn one_of(choices: &[Tokens], draws: &mut ChaCha8Rng) -> Tokens {
    choices[draws.random_range(0..choices.len())]
}

/// Uniform in a range.
fn within(range: Range, draws: &mut ChaCha8Rng) -> f64 {
    let part: f64 = draws.random();
    // Rounding must not leave the range.
    (range.least + part * (range.most - range.least)).min(range.most)
}
