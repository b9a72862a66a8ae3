//! A request, as far as decisions depend on it; its text is not part of it.

use std::fmt;

use crate::model::precision::PrecisionIndex;
use crate::model::time::{Instant, Span};
use crate::model::units::{Bits, BitsPerSecond, Quality, Tokens};

/// A request's id, unique within a run. Ids grow with arrival, so they also break ties in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// One request (`model.md §1`): its length, its deadline and targets, and its quality floor.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// When it reached the node; its deadline counts from then.
    pub arrived: Instant,
    /// Prompt length `s_i`, without padding.
    #[serde(rename = "prompt")]
    pub prompt_len: Tokens,
    /// How many of the prompt's first tokens the engine's prefix cache held when it arrived.
    pub cached: Tokens,
    /// The most tokens it may produce, `n_i`; at least 1.
    pub max_output: Tokens,
    /// The output length that it is planned with: [`Request::max_output`] until more is known, and never more.
    pub expected_output: Tokens,
    /// What is known of its output length beforehand.
    pub length: Length,
    /// When its last token must have left the node, `arrived + τ_i`; `None` without a deadline.
    pub deadline: Option<Instant>,
    /// TTFT target: the most time from its arrival to its first token; `None` without one.
    pub ttft: Option<Span>,
    /// TPOT target: the most time per token after the first, on average; `None` without one.
    pub tpot: Option<Span>,
    /// Its quality floor, `a_i`.
    pub min_quality: Quality,
    /// The one precision that it may run at; `None` where any that reaches its quality floor will do.
    #[serde(default)]
    pub precision: Option<PrecisionIndex>,
    /// The value of serving it, `v_i`; 1 by default.
    pub value: u32,
    /// Its link to the node; `None` where the link's capacity is not modelled.
    pub link: Option<Link>,
    /// The tenant that it belongs to; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
}

/// A tenant: callers who share the node's capacity with other tenants, by weight, when there is not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Tenant {
    /// Its number.
    pub id: u32,
    /// Its weight; at least 1.
    pub weight: u32,
}

/// What is known of an output length beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum Length {
    /// Only its limit.
    Limited,
    /// Its caller expects this many tokens.
    Hinted(Tokens),
    /// It equals its limit.
    Exact,
}

impl Request {
    /// A best-effort request without a quality floor.
    pub fn new(id: RequestId, arrived: Instant, prompt: Tokens, max_output: Tokens) -> Self {
        Self {
            id,
            arrived,
            prompt_len: prompt,
            cached: Tokens::ZERO,
            max_output,
            expected_output: max_output,
            length: Length::Limited,
            deadline: None,
            ttft: None,
            tpot: None,
            min_quality: Quality::NONE,
            precision: None,
            value: 1,
            link: None,
            tenant: None,
        }
    }

    /// Whether it is best effort: it has no deadline and no target, and uses leftover capacity.
    pub fn is_best_effort(&self) -> bool {
        self.deadline.is_none() && self.ttft.is_none() && self.tpot.is_none()
    }

    /// Whether an answer met the deadline and all targets: `first` is when its first token came, `whole` when all of
    /// it had left the node.
    pub fn meets_slo(&self, first: Option<Instant>, tpot: Option<Span>, whole: Instant) -> bool {
        let meets_ttft = self.ttft.is_none_or(|ttft| first.is_some_and(|first| first <= self.arrived + ttft));
        let meets_tpot = self.tpot.zip(tpot).is_none_or(|(most, tpot)| tpot <= most);
        self.is_in_time(whole) && meets_ttft && meets_tpot
    }

    /// The most tokens that it may hold in the KV cache.
    pub fn max_tokens(&self) -> Tokens {
        self.prompt_len + self.max_output
    }

    /// The time left until its deadline; `None` without one.
    pub fn slack(&self, now: Instant) -> Option<Span> {
        Some(self.deadline?.since(now))
    }

    /// Whether an answer at `at` comes in time.
    pub fn is_in_time(&self, at: Instant) -> bool {
        self.deadline.is_none_or(|deadline| at <= deadline)
    }

    /// How urgent it is: by the earliest time that its deadline and targets set.
    pub fn urgency(&self) -> Urgency {
        // Without a target for the first token, pauses count against TPOT.
        let by_tpot = || self.tpot.map(|tpot| self.arrived + tpot * self.max_output.0);
        let by_target = self.ttft.map(|ttft| self.arrived + ttft).or_else(by_tpot);
        match self.deadline.into_iter().chain(by_target).min() {
            Some(due) => Urgency::Due(due, self.id),
            None => Urgency::BestEffort(self.id),
        }
    }
}

/// How urgent a request is. The lesser is the more urgent: the one due first, then the one that arrived first;
/// best-effort requests come after all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It is due at this time.
    Due(Instant, RequestId),
    /// It has no deadline and no target.
    BestEffort(RequestId),
}

impl Urgency {
    /// The request.
    pub fn id(self) -> RequestId {
        let (Self::Due(_, id) | Self::BestEffort(id)) = self;
        id
    }

    /// When it is due; `None` for best effort.
    pub fn due(self) -> Option<Instant> {
        match self {
            Self::Due(due, _) => Some(due),
            Self::BestEffort(_) => None,
        }
    }
}

/// The link by which a request reaches the node, and its answer the caller.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// By radio, during one scheduling interval (`model.md §1`).
    Radio {
        /// Channel power gain `g_i`, path loss and fading together, as the node estimates it; the same in both
        /// directions unless `downlink_gain` is set.
        gain: f64,
        /// The gain of the downlink, where it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        downlink_gain: Option<f64>,
        /// Uplink payload, `b·s_i`.
        uplink: Bits,
        /// Downlink payload, `b·n_i`.
        downlink: Bits,
    },
    /// By a wire that requests share.
    Wire {
        /// The rate at which its answer has to be sent.
        downlink: BitsPerSecond,
    },
}
