//! What one caller asks for, as far as decisions need to know it. The text itself never comes here.

use std::fmt;

use crate::time::{Instant, Span};
use crate::units::{Bits, Quality, Tokens};

/// One request's name, unique within a run. Ids grow with arrival, so they also break ties fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// One request (`model.md §1`): how long it is, by when and how well it must be answered.
#[derive(Clone, Debug, PartialEq)]
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
    /// When its last token must have left the node, `arrived + τ_i`; `None` means whenever.
    pub deadline: Option<Instant>,
    /// The least quality it accepts, `a_i`.
    pub min_quality: Quality,
    /// What serving it is worth, `v_i`; 1 unless somebody said otherwise.
    pub value: u32,
    /// How it reaches the node by radio; `None` for a wired caller, who needs no share of the band.
    pub link: Option<Link>,
}

impl Request {
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

    /// Order of urgency: earliest deadline first, then first come.
    pub fn urgency(&self) -> (Instant, RequestId) {
        (self.deadline.unwrap_or(Instant(u64::MAX)), self.id)
    }
}

/// One caller's radio link during one scheduling interval (`model.md §1`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Channel power gain `g_i`, path loss and fading together; the same both ways.
    pub gain: f64,
    /// Payload up, `b·s_i`.
    pub uplink: Bits,
    /// Payload down, `b·n_i`.
    pub downlink: Bits,
}
