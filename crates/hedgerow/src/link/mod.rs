//! The link to the callers: what comes and goes over each connection, how fast it may go, and what was
//! learnt of both.

mod connection;
mod pacing;
mod token_size;
mod uplink;

pub(crate) use connection::{Connection, PacedListener};
pub(crate) use token_size::{Form, TokenSizeEstimator};
pub(crate) use uplink::{Uplink, Upload};
