//! The link to the callers: counts and paces the bytes of each connection, and estimates the uplink rate and the
//! bytes per token.

mod connection;
mod pacing;
mod token_size;
mod uplink;

pub(crate) use connection::{Connection, PacedListener};
pub use token_size::{Form, TokenSizeEstimator};
pub(crate) use uplink::{Uplink, Upload};
