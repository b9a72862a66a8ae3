//! What a running request holds of the node.

use super::radio::Share;
use super::units::Bytes;

/// The resources that one request holds from its start to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Grant {
    /// KV memory.
    pub memory: Bytes,
    /// Share of the uplink.
    pub uplink: Share,
    /// Share of the downlink.
    pub downlink: Share,
}
