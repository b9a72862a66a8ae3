//! The link to the callers: what comes and goes over each connection, how fast it may go, and what was
//! learnt of both.

mod connection;
mod pacing;
mod sizes;
mod uplink;

pub(crate) use connection::{Connection, Door};
pub(crate) use sizes::{Form, Sizes};
pub(crate) use uplink::{Uplink, Upload};
