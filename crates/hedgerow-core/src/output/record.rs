//! Records of ended requests.

use std::fmt;

use super::admission_failure::AdmissionFailure;
use crate::model::grant::Grant;
use crate::model::precision::PrecisionIndex;
use crate::model::request::Request;
use crate::model::step::{EndReason, EngineError};
use crate::model::time::{Instant, Span};
use crate::model::units::{Bytes, Quality, Tokens};
use hedgerow_solver::Limit;

/// The record of one request, written once when it has ended; every request gets one.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Record {
    /// The request.
    pub request: Request,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended; for a complete answer, when its last bit had left the node.
    pub ended: Instant,
    /// When it started, if it did.
    pub started: Option<Instant>,
    /// When its first token came.
    pub first_token: Option<Instant>,
    /// When its last token came.
    pub last_token: Option<Instant>,
    /// Prompt tokens that came from the engine's prefix cache; 0 until its first step.
    pub cached: Tokens,
    /// Tokens produced.
    pub produced: Tokens,
    /// The precision that it ran at.
    pub precision: Option<PrecisionIndex>,
    /// The resources that it held.
    pub grant: Grant,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Completed, with its deadline and targets met, at a precision that reaches its quality floor.
    Met(EndReason),
    /// Completed, but with its deadline or a target missed: where the policy is blind to deadlines, or steps took
    /// longer than predicted.
    Late(EndReason),
    /// Cut off in generation because its deadline had passed; the caller has the tokens produced until then.
    Expired,
    /// Rejected before it started.
    Rejected(Rejection),
    /// The caller cancelled it.
    Cancelled,
    /// The engine could not serve it.
    Failed(EngineError),
    /// Cut off in generation because the node shuts down.
    ShutDown,
}

impl Outcome {
    /// Its name in files and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Met(_) => "met",
            Self::Late(_) => "late",
            Self::Expired => "expired",
            Self::Rejected(_) => "rejected",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
            Self::ShutDown => "shut_down",
        }
    }

    /// The names of all outcomes.
    pub const NAMES: [&str; 7] = ["met", "late", "expired", "rejected", "cancelled", "failed", "shut_down"];
}

/// Why a request was rejected.
#[derive(Clone, Debug, thiserror::Error, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// Prompt and output do not fit one request's context.
    #[error("prompt and output of {needed} do not fit the context of {context}")]
    ContextExceeded {
        /// Prompt and `max_tokens` together.
        needed: Tokens,
        /// The context.
        context: Tokens,
    },
    /// Its KV cache alone exceeds the node's KV memory.
    #[error("its KV cache of {needed} is more than the node's {available}")]
    MemoryExceeded {
        /// The KV memory that it needs.
        needed: Bytes,
        /// The node's KV memory.
        available: Bytes,
    },
    /// Computing it alone takes longer than an epoch's compute slot.
    #[error("computing it takes {needed}, more than the compute slot of {slot}")]
    ComputeExceeded {
        /// The time that it needs.
        needed: Span,
        /// The slot.
        slot: Span,
    },
    /// Its payload needs more than the whole band.
    #[error("its payload does not fit the {} slot even with the whole band", limit.name())]
    BandExceeded {
        /// The direction.
        limit: Limit,
    },
    /// No usable precision reaches its quality floor.
    #[error("no loaded precision reaches a quality of {floor}; the best is {best}")]
    QualityInfeasible {
        /// Its quality floor.
        floor: Quality,
        /// The best quality available.
        best: Quality,
    },
    /// The precisions that it may run at could not be loaded.
    #[error("no precision that it may run at could be loaded")]
    PrecisionUnavailable,
    /// The deadline could not be met even on an idle node.
    #[error("deadline of {deadline} is shorter than the fastest possible run, {fastest}")]
    DeadlineInfeasible {
        /// Its deadline, counted from arrival.
        deadline: Span,
        /// The time that an idle node needs.
        fastest: Span,
    },
    /// The TTFT or TPOT target could not be met even on an idle node.
    #[error("{target} target of {asked} is shorter than the fastest possible, {fastest}")]
    TargetInfeasible {
        /// Which target.
        target: Target,
        /// Its value.
        asked: Span,
        /// The time that an idle node needs.
        fastest: Span,
    },
    /// The deadline cannot be met now, because of running and admitted requests.
    #[error("the deadline cannot be met now: {why}")]
    DeadlineUnreachable {
        /// The reason.
        why: AdmissionFailure,
        /// The suggested time until a retry.
        retry_after: Span,
    },
    /// Too many requests wait.
    #[error("the queue of {capacity} requests is full")]
    QueueFull {
        /// The number of places.
        capacity: usize,
        /// The suggested time until a retry.
        retry_after: Span,
    },
    /// The node shuts down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// A latency target of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum Target {
    /// Time to the first token.
    Ttft,
    /// Time per token after it.
    Tpot,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
        })
    }
}

impl Rejection {
    /// Its stable name: the error's `code`, and the metric's label.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ContextExceeded { .. } => "context_length_exceeded",
            Self::MemoryExceeded { .. } => "memory_exceeded",
            Self::ComputeExceeded { .. } => "compute_exceeded",
            Self::BandExceeded { .. } => "band_exceeded",
            Self::QualityInfeasible { .. } => "quality_infeasible",
            Self::PrecisionUnavailable => "precision_unavailable",
            Self::DeadlineInfeasible { .. } => "deadline_infeasible",
            Self::TargetInfeasible { .. } => "target_infeasible",
            Self::DeadlineUnreachable { .. } => "deadline_unreachable",
            Self::QueueFull { .. } => "queue_full",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// What the caller can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::ContextExceeded { context, .. } => {
                format!("shorten the prompt or lower `max_tokens` until both fit {context}")
            }
            Self::MemoryExceeded { .. } | Self::ComputeExceeded { .. } => {
                "shorten the prompt or lower `max_tokens`".into()
            }
            Self::BandExceeded { .. } => "send less, or from where the signal is stronger".into(),
            Self::QualityInfeasible { best, .. } => format!("ask for a quality of at most {best}"),
            Self::PrecisionUnavailable => "ask for another precision, or for none".into(),
            Self::DeadlineInfeasible { fastest, .. } => {
                format!("ask for a deadline of {fastest} or more, or lower `max_tokens`")
            }
            Self::TargetInfeasible { target: Target::Ttft, fastest, .. } => {
                format!("ask for a TTFT of {fastest} or more, or shorten the prompt")
            }
            Self::TargetInfeasible { target: Target::Tpot, fastest, .. } => {
                format!("ask for a TPOT of {fastest} or more")
            }
            Self::DeadlineUnreachable { retry_after, .. } | Self::QueueFull { retry_after, .. } => {
                format!("try again in {retry_after}, or with a later deadline")
            }
            Self::ShuttingDown => "send it to another node".into(),
        }
    }

    /// The suggested time until a retry; `None` when the same request will never succeed on this node.
    pub fn retry_after(&self) -> Option<Span> {
        match self {
            Self::DeadlineUnreachable { retry_after, .. } | Self::QueueFull { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::ContextExceeded { .. }
            | Self::MemoryExceeded { .. }
            | Self::ComputeExceeded { .. }
            | Self::BandExceeded { .. }
            | Self::QualityInfeasible { .. }
            | Self::PrecisionUnavailable
            | Self::DeadlineInfeasible { .. }
            | Self::TargetInfeasible { .. }
            | Self::ShuttingDown => None,
        }
    }
}

impl Record {
    /// The record of a request that never started.
    pub fn unserved(request: Request, outcome: Outcome, ended: Instant) -> Self {
        Self {
            request,
            outcome,
            ended,
            started: None,
            first_token: None,
            last_token: None,
            cached: Tokens::ZERO,
            produced: Tokens::ZERO,
            precision: None,
            grant: Grant::default(),
        }
    }

    /// Whether it met its deadline, targets and quality floor.
    pub fn is_met(&self) -> bool {
        matches!(self.outcome, Outcome::Met(_))
    }

    /// TTFT: first token − arrival.
    pub fn ttft(&self) -> Option<Span> {
        self.first_token.map(|at| at.since(self.request.arrived))
    }

    /// TPOT: (last − first) / (tokens − 1); `None` with fewer than two tokens.
    pub fn tpot(&self) -> Option<Span> {
        crate::model::running::tpot(self.first_token, self.last_token, self.produced)
    }

    /// E2E: end − arrival, of a completed answer.
    pub fn e2e(&self) -> Option<Span> {
        match self.outcome {
            Outcome::Met(_) | Outcome::Late(_) => Some(self.ended.since(self.request.arrived)),
            Outcome::Expired
            | Outcome::Rejected(_)
            | Outcome::Cancelled
            | Outcome::Failed(_)
            | Outcome::ShutDown => None,
        }
    }

    /// Time from its arrival to its start.
    pub fn queue_time(&self) -> Option<Span> {
        self.started.map(|at| at.since(self.request.arrived))
    }
}
