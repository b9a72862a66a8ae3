//! Invariants of a simulation, checked after each event in debug builds and in this crate's tests.

use hedgerow_core::Order;
use hedgerow_core::allocator::{self, Share};
use hedgerow_core::engine::EndReason;
use hedgerow_core::node::Node;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::units::Tokens;

/// Whether invariants are checked: not in release builds, for speed. Tests may use the release profile, so `test`
/// enables them too.
pub(crate) const ARE_CHECKED: bool = cfg!(any(test, debug_assertions));

/// Checks that the batch started by one event holds at most the whole band each way (`model.md §1`).
pub(crate) fn assert_shares_fit(orders: &[Order]) {
    let (mut uplink, mut downlink) = (Share::NONE, Share::NONE);
    for order in orders {
        if let Order::Start(running) = order {
            uplink = uplink + running.grant.uplink;
            downlink = downlink + running.grant.downlink;
        }
    }
    assert!(uplink <= Share::WHOLE && downlink <= Share::WHOLE, "a batch holds {uplink} up, {downlink} down");
}

/// Checks that a record is consistent and that `met` means that all requirements were satisfied (`model.md §1`).
pub(crate) fn assert_record(record: &Record, answer: Tokens, node: &Node) {
    let Record { request, started, first_token, last_token, ended, .. } = record;
    let moments = [Some(request.arrived), *started, *first_token, *last_token, Some(*ended)];
    let known: Vec<_> = moments.into_iter().flatten().collect();
    assert!(known.is_sorted(), "its times are out of order: {record:#?}");
    assert_eq!(started.is_some(), record.precision.is_some(), "start and precision differ: {record:#?}");
    match record.outcome {
        Outcome::Met(end) | Outcome::Late(end) => assert_answer(record, end, answer, node),
        Outcome::Rejected(_) => assert!(started.is_none(), "refused after its start: {record:#?}"),
        // A request can also be cancelled while the whole answer is being transmitted.
        Outcome::Cancelled => assert!(record.produced <= answer, "more than an answer: {record:#?}"),
        Outcome::Expired | Outcome::Failed(_) | Outcome::ShutDown => {
            assert!(record.produced < answer, "complete, but recorded as cut off: {record:#?}");
        }
    }
}

fn assert_answer(record: &Record, end: EndReason, answer: Tokens, node: &Node) {
    let Record { request, produced, ended, grant, .. } = record;
    let (Some(started), Some(first), Some(last), Some(precision)) =
        (record.started, record.first_token, record.last_token, record.precision)
    else {
        panic!("answered, but not run: {record:#?}");
    };
    let expected_end = if answer == request.max_output { EndReason::Length } else { EndReason::Stop };
    assert_eq!((*produced, end), (answer, expected_end), "the whole answer, not more: {record:#?}");
    assert!(first >= started + node.uplink_slot(), "a token before the end of the uplink slot: {record:#?}");
    assert!(*ended >= last + node.downlink_slot(), "an end before the end of the downlink slot: {record:#?}");
    let is_met = request.meets_slo(record.first_token, record.tpot(), *ended);
    assert_eq!(record.is_met(), is_met, "met means in time: {record:#?}");
    let quality = node.precisions[precision.0].quality;
    assert!(quality >= request.min_quality, "served at a quality of only {quality}: {record:#?}");
    let needs = allocator::needs(request, request.prompt_len, node);
    let is_enough =
        grant.memory >= needs.memory && grant.uplink >= needs.uplink && grant.downlink >= needs.downlink;
    assert!(is_enough, "it needed {needs:?}: {record:#?}");
}
