//! What one caller asks for, as far as decisions need to know it. The text itself never comes here.

use std::fmt;

use crate::time::{Instant, Span};
use crate::units::{Bits, BitsPerSecond, Quality, Tokens};

/// One request's name, unique within a run. Ids grow with arrival, so they also break ties fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// One request (`model.md §1`): how long it is, by when and how well it must be answered.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// When it reached the node; its deadline counts from here.
    pub arrived: Instant,
    /// Prompt length `s_i`.
    pub prompt: Tokens,
    /// How many of the prompt's first tokens the engine's cache was seen to hold when it arrived.
    pub cached: Tokens,
    /// The most tokens it may produce, `n_i`; at least 1.
    pub max_output: Tokens,
    /// The length that it is planned with, at most [`Request::max_output`]: all of it until more is known.
    pub expected_output: Tokens,
    /// What is known of its length beforehand.
    pub length: Length,
    /// When its last token must have left the node, `arrived + τ_i`; `None` means whenever.
    pub deadline: Option<Instant>,
    /// How soon after its arrival its first token must come (TTFT); `None` means whenever.
    pub ttft: Option<Span>,
    /// The most time for each token after the first, on average (TPOT); `None` means any.
    pub tpot: Option<Span>,
    /// The least quality it accepts, `a_i`.
    pub min_quality: Quality,
    /// What serving it is worth, `v_i`; 1 unless somebody said otherwise.
    pub value: u32,
    /// How it reaches the node; `None` where nobody counts what it takes of the link.
    pub link: Option<Link>,
}

/// What is known of an answer's length beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum Length {
    /// Nothing but its limit.
    Limited,
    /// Its caller expects so many tokens.
    Hinted(Tokens),
    /// It goes on until its limit.
    Exact,
}

impl Request {
    /// A request that demands nothing but to be answered some time.
    pub fn new(id: RequestId, arrived: Instant, prompt: Tokens, max_output: Tokens) -> Self {
        Self {
            id,
            arrived,
            prompt,
            cached: Tokens::ZERO,
            max_output,
            expected_output: max_output,
            length: Length::Limited,
            deadline: None,
            ttft: None,
            tpot: None,
            min_quality: Quality::NONE,
            value: 1,
            link: None,
        }
    }

    /// Whether it names no time at all: it is served with what the others leave.
    pub fn is_best_effort(&self) -> bool {
        self.deadline.is_none() && self.ttft.is_none() && self.tpot.is_none()
    }

    /// Whether an answer keeps every time that was asked for.
    pub fn is_kept(&self, first: Option<Instant>, tpot: Option<Span>, whole: Instant) -> bool {
        let is_soon = self.ttft.is_none_or(|ttft| first.is_some_and(|first| first <= self.arrived + ttft));
        let is_fluent = self.tpot.zip(tpot).is_none_or(|(most, tpot)| tpot <= most);
        self.is_in_time(whole) && is_soon && is_fluent
    }

    /// Every token it may come to hold in the KV cache.
    pub fn max_tokens(&self) -> Tokens {
        self.prompt + self.max_output
    }

    /// The time left until its deadline; the longest span there is when it has none.
    pub fn slack(&self, now: Instant) -> Span {
        self.deadline.map_or(Span::MAX, |deadline| deadline.since(now))
    }

    /// Whether an answer at `at` comes in time.
    pub fn is_in_time(&self, at: Instant) -> bool {
        self.deadline.is_none_or(|deadline| at <= deadline)
    }

    /// Order of urgency: by the earliest time that it names, then first come; who names none is last.
    pub fn urgency(&self) -> (Instant, RequestId) {
        let first = self.ttft.map(|ttft| self.arrived + ttft);
        // Nobody said when such an answer is to begin, but every pause counts against it.
        let paced =
            self.tpot.filter(|_| self.ttft.is_none()).map(|tpot| self.arrived + tpot * self.max_output.0);
        let due = [self.deadline, first, paced].into_iter().flatten().min();
        (due.unwrap_or(Instant(u64::MAX)), self.id)
    }
}

/// How one request reaches the node, and its answer the caller.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// By radio, during one scheduling interval (`model.md §1`).
    Radio {
        /// Channel power gain `g_i`, path loss and fading together, as far as the node knows it; the same
        /// both ways unless `downlink_gain` says otherwise.
        gain: f64,
        /// The gain of the way down, where it is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        downlink_gain: Option<f64>,
        /// Payload up, `b·s_i`.
        uplink: Bits,
        /// Payload down, `b·n_i`.
        downlink: Bits,
    },
    /// By a wire that it shares with others.
    Wire {
        /// The rate at which its answer has to be sent.
        downlink: BitsPerSecond,
    },
}
