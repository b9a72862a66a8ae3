//! Arrivals: when requests arrive and what they ask for.

mod users;

use hedgerow_core::request::{Length, Link, Request, RequestId};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bits, Quality, Tokens};
use hedgerow_workload::{ArrivalTimes, Process, Purpose, correlated, pick};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

pub use users::{Extent, OutputKnowledge, Range, Users};

use crate::channel::{GainDraws, Gains};

/// A request and the facts about it that the node does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The request as the node sees it.
    pub request: Request,
    /// When the node is notified of it: at its arrival or later, where reading the request takes time.
    pub notified: Instant,
    /// Tokens after which the answer ends by itself; at most the request's limit.
    pub answer: Tokens,
    /// When the user cancels; `None` means never.
    pub cancels_at: Option<Instant>,
    /// Index of its class in [`crate::Scenario::classes`]; 0 if the scenario has no classes.
    pub class: usize,
    /// Its channel's true gains; `None` if the node knows them exactly.
    pub truth: Option<Gains>,
}

impl Arrival {
    /// An arrival with an answer of this length: notified at once, never cancelled, its channel known exactly.
    pub fn of(request: Request, answer: Tokens) -> Self {
        Self { notified: request.arrived, answer, cancels_at: None, class: 0, truth: None, request }
    }
}

/// The scenario's arrivals in order of time. They depend only on the seed and the users, not on the node's
/// decisions (common random numbers).
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// Never empty.
    classes: Vec<Users>,
    extent: Extent,
    gains: Option<GainDraws>,
    bits_per_token: f64,
    knowledge: OutputKnowledge,
    times: ArrivalTimes,
    draws: Draws,
    count: u64,
}

/// What arrivals are drawn from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) seed: u64,
    /// What each class of users asks for; never empty.
    pub(crate) classes: Vec<Users>,
    pub(crate) extent: Extent,
    /// Their channels' gains, if they come by radio.
    pub(crate) gains: Option<GainDraws>,
    pub(crate) bits_per_token: f64,
    pub(crate) knowledge: OutputKnowledge,
    pub(crate) process: &'a Process,
    /// Arrivals a second, all classes together.
    pub(crate) rate_per_s: f64,
}

/// One random stream for each drawn quantity.
#[derive(Clone, Debug)]
struct Draws {
    classes: ChaCha8Rng,
    prompts: ChaCha8Rng,
    outputs: ChaCha8Rng,
    answers: ChaCha8Rng,
    deadlines: ChaCha8Rng,
    qualities: ChaCha8Rng,
    patience: ChaCha8Rng,
    payloads: ChaCha8Rng,
    hints: ChaCha8Rng,
}

impl Arrivals {
    /// All arrivals that a source gives.
    pub(crate) fn of(source: Source<'_>) -> Self {
        let Source { seed, classes, extent, gains, bits_per_token, knowledge, process, rate_per_s } = source;
        let stream = |purpose| hedgerow_workload::stream(seed, purpose);
        Self {
            classes,
            extent,
            gains,
            bits_per_token,
            knowledge,
            times: ArrivalTimes::new(process, rate_per_s, seed),
            draws: Draws {
                classes: stream(Purpose::Classes),
                prompts: stream(Purpose::Prompts),
                outputs: stream(Purpose::Outputs),
                answers: stream(Purpose::Answers),
                deadlines: stream(Purpose::Deadlines),
                qualities: stream(Purpose::Qualities),
                patience: stream(Purpose::Patience),
                payloads: stream(Purpose::Payloads),
                hints: stream(Purpose::Hints),
            },
            count: 0,
        }
    }

    /// Draws the prompt length and the output limit of a request of a class.
    fn lengths(&mut self, class: usize) -> (Tokens, Tokens) {
        let Users { prompts, outputs, length_correlation, .. } = &self.classes[class];
        let draws = &mut self.draws;
        match length_correlation {
            None => (prompts.draw(&mut draws.prompts), outputs.draw(&mut draws.outputs)),
            Some(correlation) => {
                let streams = [&mut draws.prompts, &mut draws.outputs];
                correlated([prompts, outputs], *correlation, streams)
            }
        }
    }

    /// The request's link, and its true gains if the node does not know them exactly.
    fn link(&mut self, class: usize, request: &Request) -> (Option<Link>, Option<Gains>) {
        let Some(gains) = &mut self.gains else { return (None, None) };
        let drawn = gains.draw(request.arrived);
        let users = &self.classes[class];
        let mut payload = |tokens: Tokens, more: Option<Range>| {
            let more_bytes = more.map_or(0.0, |bytes| within(bytes, &mut self.draws.payloads));
            Bits::new(f64::from(tokens.0) * self.bits_per_token + 8.0 * more_bytes)
        };
        let link = Link::Radio {
            gain: drawn.known.uplink,
            downlink_gain: Some(drawn.known.downlink).filter(|&gain| gain != drawn.known.uplink),
            uplink: payload(request.prompt_len, users.payload_bytes),
            downlink: payload(request.max_output, users.answer_bytes),
        };
        (Some(link), drawn.truth)
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let is_over = |count| matches!(self.extent, Extent::Requests(requests) if count >= requests);
        if is_over(self.count) {
            return None;
        }
        let (arrived, of_trace) = self.times.next()?;
        if matches!(self.extent, Extent::Duration(duration) if arrived > Instant::START + duration) {
            return None;
        }
        let id = RequestId(self.count);
        self.count += 1;

        let class = pick(self.classes.iter().map(|class| class.rate_per_s), &mut self.draws.classes);
        let (prompt, limit) = match of_trace {
            Some((prompt, output)) => (Tokens(prompt), Tokens(output)),
            None => self.lengths(class),
        };
        let Draws { answers, deadlines, qualities, patience, hints, .. } = &mut self.draws;
        let users = &self.classes[class];
        let answer = f64::from(limit.0) * within(users.answer_part, answers);
        let answer = Tokens((answer.ceil() as u32).clamp(1, limit.0));
        let (max_output, length) = known(self.knowledge, limit, answer, hints);
        let after = |range: &Option<Range>, draws: &mut ChaCha8Rng| {
            range.map(|range| arrived + Span::from_seconds(within(range, draws)))
        };
        let mut request = Request {
            deadline: after(&users.deadline_s, deadlines),
            min_quality: Quality::new(within(users.min_quality, qualities)).expect("the range lies in 0..=1"),
            value: users.value,
            length,
            ..Request::new(id, arrived, prompt, max_output)
        };
        let cancels_at = after(&users.patience_s, patience);
        let (link, truth) = self.link(class, &request);
        request.link = link;
        Some(Arrival { notified: arrived, answer, cancels_at, class, truth, request })
    }
}

/// The output limit of the request, and what the node knows about the answer's length.
fn known(
    knowledge: OutputKnowledge,
    limit: Tokens,
    answer: Tokens,
    hints: &mut ChaCha8Rng,
) -> (Tokens, Length) {
    match knowledge {
        OutputKnowledge::Limit => (limit, Length::Limited),
        OutputKnowledge::Oracle => (answer, Length::Exact),
        OutputKnowledge::Hint { factor, sigma } => {
            let normal: f64 = StandardNormal.sample(hints);
            let hint = f64::from(answer.0) * factor * (sigma * normal).exp();
            (limit, Length::Hinted(Tokens((hint.round() as u32).clamp(1, limit.0))))
        }
    }
}

/// Draws a number uniformly from a range.
fn within(range: Range, draws: &mut ChaCha8Rng) -> f64 {
    let part: f64 = draws.random();
    // Rounding must not exceed the range.
    (range.least + part * (range.most - range.least)).min(range.most)
}
