//! Stage 3 of 6: the resource allocator.
//!
//! - takes: what a request needs of the node, and what other requests hold
//! - gives: a [`Grant`] of memory and of the band, in each direction, that the request holds until it ends
//! - never: decides which request gets resources; the scheduler checks first whether a batch fits

mod ledger;

pub use crate::model::grant::Grant;
pub use crate::model::modem::{CQI_EFFICIENCIES, Coding, Modem, PowerOver};
pub use crate::model::radio::{Channel, Radio, Share, full_band_rate, rate_on, share_for, share_needed};
pub use crate::model::wire::{Payload, Wire};
pub use ledger::Ledger;

use crate::model::node::Node;
use crate::model::request::{Link, Request};
use crate::model::units::Tokens;

/// The grant that a request needs: KV memory for every token that it may hold, and its share of the link. By radio
/// that is the smallest share of the band, in each direction, that carries its payload within its slot; by wire it is
/// the rate that its answer needs ([`Wire::rate`]), and no uplink, because its prompt has arrived already.
///
/// `prompt` is the padded length of its prompt. Equation: `model.md §1`.
pub fn needs(request: &Request, prompt: Tokens, node: &Node) -> Grant {
    let memory = node.kv_memory_of(prompt + request.max_output);
    let (uplink, downlink) = match (&request.link, &node.radio, &node.wire) {
        (Some(Link::Radio { gain, downlink_gain, uplink, downlink }), Some(radio), _) => (
            share_for(&radio.uplink, *uplink, radio.uplink_slot, *gain),
            share_for(&radio.downlink, *downlink, radio.downlink_slot, downlink_gain.unwrap_or(*gain)),
        ),
        (Some(Link::Wire { downlink }), _, Some(wire)) => (Share::NONE, wire.share(*downlink)),
        (None, _, _) | (Some(Link::Radio { .. }), None, _) | (Some(Link::Wire { .. }), _, None) => {
            (Share::NONE, Share::NONE)
        }
    };
    Grant { memory, uplink, downlink }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CostModel;
    use crate::model::cost::{MeasuredCost, Surface};
    use crate::model::node::ModelShape;
    use crate::model::request::RequestId;
    use crate::model::time::{Instant, Span};
    use crate::model::units::{BitsPerSecond, Bytes};

    /// A node on a wire of 1 Mbit/s with memory for a hundred tokens of four bytes.
    fn wired() -> Node {
        let instant = || Surface::level(&[(1, Span(1))]);
        Node {
            memory: Bytes(400),
            model: ModelShape {
                layers: 1,
                hidden: 1,
                kv_width: 1,
                feed_forward: 1,
                gated: false,
                vocabulary: 1,
                kv_type: crate::model::node::KvType::F16,
            },
            precisions: Vec::new(),
            weights_limit: None,
            kv_block: Tokens(1),
            cost: CostModel::Measured(MeasuredCost { prefill: instant(), decode: instant(), mixed_ns: 0 }),
            max_parallel: 8,
            context: Tokens(100),
            prefill_chunk: Tokens(100),
            radio: None,
            wire: Some(Wire { downlink: BitsPerSecond::new(1e6), least: BitsPerSecond::new(16e3) }),
        }
    }

    fn sent_at(bits_per_s: f64) -> Request {
        Request {
            link: Some(Link::Wire { downlink: BitsPerSecond::new(bits_per_s) }),
            ..Request::new(RequestId(0), Instant::START, Tokens(1), Tokens(1))
        }
    }

    #[test]
    fn a_wire_is_shared_out_to_the_last_billionth_and_comes_back_whole() {
        let node = wired();
        let mut ledger = Ledger::new(&node);
        // Thirds are rounded up, so that three do not fit; two and a slightly smaller one do.
        let third = needs(&sent_at(1e6 / 3.0), Tokens(1), &node);
        let less = needs(&sent_at(1e6 / 3.0 - 0.01), Tokens(1), &node);
        ledger.take(&third);
        ledger.take(&third);
        assert!(!ledger.fits(&third) && ledger.fits(&less), "{:?} is free", ledger.free());
        ledger.take(&less);
        assert!(ledger.whole().downlink - ledger.free().downlink <= Share::WHOLE);
        [third, third, less].iter().for_each(|grant| ledger.give_back(grant));
        assert_eq!(ledger.free(), ledger.whole());
    }

    #[test]
    fn a_cache_in_blocks_is_handed_out_in_whole_ones() {
        let in_blocks = Node { kv_block: Tokens(16), ..wired() };
        let request = |output| Request::new(RequestId(0), Instant::START, Tokens(20), Tokens(output));
        let memory = |output| needs(&request(output), Tokens(20), &in_blocks).memory;
        assert_eq!([memory(11), memory(12), memory(13)], [Bytes(32 * 4), Bytes(32 * 4), Bytes(48 * 4)]);
        assert_eq!(needs(&request(13), Tokens(20), &wired()).memory, Bytes(33 * 4));
    }

    #[test]
    fn a_node_without_a_wire_model_grants_no_share_of_it() {
        let node = Node { wire: None, ..wired() };
        let needs = needs(&sent_at(2e6), Tokens(1), &node);
        assert_eq!((needs.uplink, needs.downlink), (Share::NONE, Share::NONE));
    }
}
