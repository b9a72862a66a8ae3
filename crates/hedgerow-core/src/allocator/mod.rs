//! Stage 3 of 6: the resource allocator.
//!
//! - takes: what a request needs of the node, and what others hold
//! - gives: a [`Grant`] of memory and of the band, each way, that the request holds until it ends
//! - never: decides who deserves it; the scheduler asks first whether a batch fits

mod ledger;
mod radio;

pub use ledger::{Grant, Ledger};
pub use radio::{Channel, Radio, Share, full_band_rate, share_needed};

use crate::node::Node;
use crate::request::Request;
use crate::units::Tokens;

/// What a request must be granted to be served: KV memory for every token it may come to hold, and
/// the smallest share of the band, each way, that carries its payload within its slot.
///
/// `prompt` is the length its prompt is padded to. Equation: `model.md §1`.
pub fn needs(request: &Request, prompt: Tokens, node: &Node) -> Grant {
    let memory = (prompt + request.max_output).bytes(node.model.kv_per_token());
    match (&request.link, &node.radio) {
        (Some(link), Some(radio)) => Grant {
            memory,
            uplink: share_needed(link.uplink, radio.uplink_slot, full_band_rate(&radio.uplink, link.gain)),
            downlink: share_needed(
                link.downlink,
                radio.downlink_slot,
                full_band_rate(&radio.downlink, link.gain),
            ),
        },
        (None, _) | (_, None) => Grant { memory, uplink: Share::NONE, downlink: Share::NONE },
    }
}
