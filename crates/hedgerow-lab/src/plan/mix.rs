//! The workload: the requests that `bench serve` would send with the same class file, seed and duration.

use std::ops::RangeInclusive;
use std::time::Duration;

use hedgerow_core::node::Node;
use hedgerow_core::request::{Length, Link, Request, RequestId};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Quality, Tokens};
use hedgerow_llama::LlamaModel;
use hedgerow_loadgen::{Arrivals, Class, Patience, Pattern, Seeds};
use hedgerow_node::chat_template::{ChatTemplate, Message, chat_tokens};
use hedgerow_node::token_size::{Form, TokenSizeEstimator};
use hedgerow_sim::Arrival;
use hedgerow_workload::hint::hinted;

/// The least number of requests in a run that gives a meaningful result.
const REQUESTS_MIN: f64 = 5.0;
/// The number of requests that a run aims for.
const REQUESTS_ENOUGH: f64 = 500.0;
/// A run lasts at least this many times the longest deadline, because it begins with an empty node.
const DEADLINES_MIN: f64 = 4.0;
/// The highest rate; `bench serve` could not offer more.
const RATE_MAX_PER_S: f64 = 10_000.0;
/// The shortest and longest run, in seconds, unless a duration is given.
const LASTS_S: [f64; 2] = [30.0, 1200.0];

/// The workload of a plan: classes, arrivals and duration.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) pattern: Pattern,
    /// How long requests are sent; `None`: see [`Mix::lasts`].
    pub(crate) duration: Option<Duration>,
    /// What callers do at their deadline.
    pub(crate) patience: Patience,
    pub(crate) prompt_tokens: PromptTokens,
    /// Bytes of a streamed token on the link that requests share.
    pub(crate) bytes_per_token: f64,
}

/// The number of tokens of a prompt as a linear function of its words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PromptTokens {
    /// The tokens that the model's chat template adds.
    pub(crate) template: f64,
    pub(crate) per_word: f64,
}

impl PromptTokens {
    /// One token for each word and no template, for an unknown vocabulary.
    pub(crate) const BARE: Self = Self { template: 0.0, per_word: 1.0 };

    /// Fits a model's own function by tokenizing a short and a long prompt.
    ///
    /// # Errors
    ///
    /// When the model has no usable chat template.
    pub(crate) fn of(model: &LlamaModel) -> anyhow::Result<Self> {
        const WORDS: [usize; 2] = [64, 1064];
        let template = ChatTemplate::of(model.info()).map_err(|reason| {
            anyhow::anyhow!("the model cannot chat, which is what is planned for: {reason}")
        })?;
        let count = |words: usize| {
            let messages = [Message { role: "user".into(), content: vec!["river"; words].join(" ") }];
            let tokens = chat_tokens(model, &template, &messages);
            tokens.map(|tokens| tokens.len() as f64).map_err(|error| hinted(&error, error.hint()))
        };
        let [few, many] = WORDS.map(count);
        let (few, many) = (few?, many?);
        let per_word = (many - few) / (WORDS[1] - WORDS[0]) as f64;
        Ok(Self { template: few - per_word * WORDS[0] as f64, per_word })
    }

    /// Returns the tokens of a prompt of this many words.
    fn at(self, words: u32) -> Tokens {
        Tokens((self.template + self.per_word * f64::from(words)).round().max(1.0) as u32)
    }
}

impl Mix {
    /// Returns the rates that can be simulated: from a few requests in a run to the whole trace, if there is one.
    pub(super) fn playable_per_s(&self) -> RangeInclusive<f64> {
        let least = REQUESTS_MIN / self.duration.map_or(LASTS_S[1], |duration| duration.as_secs_f64());
        let most = match &self.pattern.arrivals {
            Arrivals::Gamma { .. } => RATE_MAX_PER_S,
            Arrivals::Trace { trace, .. } => trace.rate_per_s(),
        };
        least.min(most)..=most
    }

    /// Returns how long requests are sent at a rate.
    pub(crate) fn lasts(&self, rate_per_s: f64) -> Duration {
        let deadlines = self.classes().iter().filter_map(|class| class.deadline);
        let longest_s = deadlines.max().unwrap_or_default().as_secs_f64();
        let [least_s, most_s] = LASTS_S;
        let least_s = (DEADLINES_MIN * longest_s).clamp(least_s, most_s);
        let enough_s = (REQUESTS_ENOUGH / rate_per_s).clamp(least_s, most_s);
        self.duration.unwrap_or(Duration::from_secs_f64(enough_s))
    }

    /// The request classes.
    pub(crate) fn classes(&self) -> &[Class] {
        &self.pattern.classes
    }

    /// Returns the most tokens that a request may hold, prompt and output together.
    pub(crate) fn longest(&self) -> Tokens {
        let tokens = |(prompt, output): (u32, u32)| self.prompt_tokens.at(prompt) + Tokens(output);
        let most = |class: &Class| (*class.prompt_tokens.end(), *class.output_tokens.end());
        match &self.pattern.arrivals {
            Arrivals::Gamma { .. } => self.classes().iter().map(most).map(tokens).max(),
            Arrivals::Trace { trace, fit, .. } => {
                trace.rows().iter().map(|&row| fit.lengths(row)).map(tokens).max()
            }
        }
        .unwrap_or_default()
    }

    /// Draws all requests of a run, as they arrive at the node.
    ///
    /// # Errors
    ///
    /// When the workload cannot be drawn.
    pub(super) fn arrivals(&self, node: &Node, rate_per_s: f64, seed: u64) -> anyhow::Result<Vec<Arrival>> {
        let seeds = Seeds { load: seed, words: seed };
        let requests = self.pattern.open_loop(rate_per_s, self.lasts(rate_per_s), seeds)?;
        let sizes = TokenSizeEstimator::assume(self.bytes_per_token);
        let arrival = |(id, request): (u64, hedgerow_loadgen::Request)| {
            let arrived = Instant::START + Span(u64::try_from(request.at.as_nanos()).unwrap_or(u64::MAX));
            self.arrival(node, &sizes, RequestId(id), arrived, &request)
        };
        Ok((0..).zip(requests).map(arrival).collect())
    }

    fn arrival(
        &self,
        node: &Node,
        sizes: &TokenSizeEstimator,
        id: RequestId,
        arrived: Instant,
        asked: &hedgerow_loadgen::Request,
    ) -> Arrival {
        let (prompt, output) = (self.prompt_tokens.at(asked.prompt_tokens), Tokens(asked.output_tokens));
        let time =
            asked.deadline.map(|deadline| Span(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX)));
        let mut request = Request {
            // Outputs have exactly the requested length (`ignore_eos`), and the node knows it.
            length: Length::Exact,
            deadline: time.map(|time| arrived + time),
            min_quality: asked.min_quality.and_then(Quality::new).unwrap_or_default(),
            ..Request::new(id, arrived, prompt, output)
        };
        if let Some(wire) = &node.wire {
            let decoding = node.least_decoding(prompt, output);
            let payload = sizes.payload(Form::Streamed, output, decoding, None);
            request.link = Some(Link::Wire { downlink: wire.rate(&payload, time) });
            request.deadline = time.map(|time| arrived + wire.time_for_tokens(&payload, time));
        }
        let hangs_up = time.filter(|_| self.patience == Patience::HangUp).map(|time| arrived + time);
        Arrival { cancels_at: hangs_up, class: asked.class, ..Arrival::of(request, output) }
    }
}
