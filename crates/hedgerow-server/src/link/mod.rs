//! The link to the callers: counts and paces the bytes of each connection, and estimates the uplink rate.

mod connection;
mod pacing;
mod uplink;

pub(crate) use connection::{Connection, Stream};
pub(crate) use uplink::{Uplink, Upload};
