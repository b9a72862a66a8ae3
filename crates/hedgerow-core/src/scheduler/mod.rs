//! Stage 2 of 6: the batch scheduler.
//!
//! - takes: a [`View`]: the node's state, the waiting requests and the precisions at hand; and a
//!   [`Budget`](hedgerow_solver::Budget)
//! - gives: a [`Plan`]: which requests to serve, in which order and each at which precision; and, for each step,
//!   what it runs ([`compose`])
//! - never: reads a clock, draws a random number, hands out a resource or talks to an engine
//!
//! Each question becomes an [`Instance`](hedgerow_solver::Instance) (`reduce`); a
//! [`Policy`](hedgerow_solver::Policy) answers it ([`hedgerow_solver::solve`]).

pub mod calibration;
mod compose;
mod demand;
mod epoch_duration;
mod explain;
mod forecast;
pub mod output_length;
mod plan;
mod reduce;
mod sequence;
mod view;

pub use crate::output::AdmissionFailure;
pub use compose::compose;
pub use demand::DemandEstimator;
pub use explain::{LiveStatus, admission_failure, live_status, live_statuses};
pub use plan::{Plan, PlanReport, Planned, choose};
pub use reduce::time_alone;
pub(crate) use reduce::{least_work, slot_needed};
pub use view::{InFlight, NodeState, View};
