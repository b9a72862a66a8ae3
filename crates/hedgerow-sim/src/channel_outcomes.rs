//! Transmissions over a channel that the node does not know exactly: a request with too small a grant is late.
//!
//! The node computes a grant from its estimate of the channel, and the transmission uses that grant. If the true
//! channel is worse, the payload is incomplete when its slot ends. Under `continuous` a request keeps its share
//! until its end, so the transmission continues; under `epoch` the rest waits for the same slot of later epochs.
//! The node still computes as if the prompt had arrived in its slot; the uplink delay is added to every later time
//! when the request ends. The record then has the times of the true channel, and `met` is decided by them.

use std::collections::BTreeMap;

use hedgerow_core::allocator::{Channel, Radio, Share, rate_on};
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::request::{Link, RequestId};
use hedgerow_core::settings::Protocol;
use hedgerow_core::time::Span;
use hedgerow_core::units::Bits;

use crate::arrivals::Arrival;
use crate::channel::Gains;
use crate::scenario::Scenario;

/// A transmission ends after this many slots, because the channel has changed by then.
const SLOTS_MAX: f64 = 100.0;
/// Shares are rounded to billionths, so a delay below this fraction of a slot is ignored.
const TOLERANCE: f64 = 1e-6;

/// Applies the true channel to the records of requests whose channels the node does not know exactly.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChannelOutcomes {
    rules: Option<Rules>,
    truths: BTreeMap<RequestId, Gains>,
}

#[derive(Clone, Debug)]
struct Rules {
    radio: Radio,
    /// Time from a slot to the next one, if the rest has to wait for that.
    epoch: Option<Span>,
    bits_per_token: f64,
}

impl ChannelOutcomes {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let epoch = match scenario.settings.protocol {
            Protocol::Continuous => None,
            Protocol::Epoch { length, .. } => Some(length),
        };
        let rules = scenario.node.radio.clone().zip(scenario.cell.as_ref()).map(|(radio, cell)| Rules {
            radio,
            epoch,
            bits_per_token: cell.bits_per_token,
        });
        Self { rules, truths: BTreeMap::new() }
    }

    /// Stores the true gains of a request whose channel the node does not know exactly.
    pub(crate) fn expect(&mut self, arrival: &Arrival) {
        self.truths.extend(arrival.truth.map(|truth| (arrival.request.id, truth)));
    }

    /// Applies the delays of the true channel to a request's record.
    pub(crate) fn deliver(&mut self, mut record: Record) -> Record {
        let (Some(rules), Some(truth)) = (&self.rules, self.truths.remove(&record.request.id)) else {
            return record;
        };
        let (Outcome::Met(end) | Outcome::Late(end)) = record.outcome else { return record };
        let (up, down) = rules.overtime(&record, truth);
        for moment in [&mut record.first_token, &mut record.last_token] {
            *moment = moment.map(|at| at + up);
        }
        record.ended = record.ended + up + down;
        let is_met = record.request.meets_slo(record.first_token, record.tpot(), record.ended);
        record.outcome = if is_met { Outcome::Met(end) } else { Outcome::Late(end) };
        record
    }
}

impl Rules {
    /// By how much the payloads of a request exceed their slots, uplink and downlink.
    fn overtime(&self, record: &Record, truth: Gains) -> (Span, Span) {
        let Some(Link::Radio { uplink, downlink, .. }) = record.request.link else {
            return (Span::ZERO, Span::ZERO);
        };
        let Radio { uplink: up, downlink: down, uplink_slot, downlink_slot } = &self.radio;
        // An answer shorter than its limit sends less than its grant allows.
        let unsent = f64::from((record.request.max_output - record.produced).0) * self.bits_per_token;
        let answer = Bits::new((downlink.get() - unsent).max(0.0));
        let grant = &record.grant;
        (
            self.late(up, uplink, *uplink_slot, grant.uplink, truth.uplink),
            self.late(down, answer, *downlink_slot, grant.downlink, truth.downlink),
        )
    }

    /// How long after its slot's end a payload is complete.
    fn late(&self, channel: &Channel, payload: Bits, slot: Span, share: Share, gain: f64) -> Span {
        let in_one_slot = rate_on(channel, share, gain).get() * slot.as_seconds();
        // An empty payload takes no slot, also where the rate is 0.
        let slots = if payload.get() == 0.0 { 0.0 } else { payload.get() / in_one_slot };
        if slots <= 1.0 + TOLERANCE {
            return Span::ZERO;
        }
        let slots = slots.min(SLOTS_MAX);
        match self.epoch {
            None => slot.scaled(slots - 1.0),
            // The last slot may have time left, but an answer counts as complete at the slot's end.
            Some(epoch) => epoch * (slots.ceil() as u32 - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Overrides;
    use crate::simulation::Simulation;

    const PAPER: &str = include_str!("../../../scenarios/paper.toml");
    const CONTINUOUS: &str = include_str!("../../../scenarios/continuous.toml");

    fn scenario(text: &str, knowledge: &str) -> Scenario {
        let overrides = Overrides { requests: Some(300), ..Overrides::default() };
        Scenario::parse(&format!("{text}\n{knowledge}")).unwrap().with(&overrides).unwrap()
    }

    fn records(scenario: &Scenario) -> Vec<Record> {
        Simulation::new(scenario).run(|_| {}).records
    }

    fn met(records: &[Record]) -> usize {
        records.iter().filter(|record| record.is_met()).count()
    }

    #[test]
    fn too_small_a_grant_delays_the_answer_by_the_missing_part() {
        for text in [PAPER, CONTINUOUS] {
            let exact = records(&scenario(text, ""));
            let record = exact.into_iter().find(Record::is_met).expect("some request is met");
            let mut outcomes = ChannelOutcomes::of(&scenario(text, ""));
            let Some(Link::Radio { gain, .. }) = record.request.link else { panic!("its link is the radio") };
            // A rate three eighths lower takes 1.6 slots instead of one.
            let channel = &outcomes.rules.as_ref().unwrap().radio.uplink;
            let snr = channel.snr(gain);
            let worse = |gain: f64| gain * ((1.0 + snr).powf(1.0 / 1.6) - 1.0) / snr;
            outcomes.truths.insert(record.request.id, Gains { uplink: worse(gain), downlink: gain });
            let delivered = outcomes.deliver(record.clone());
            let late = delivered.ended.since(record.ended);
            let expected_ms = if text == PAPER { 2000.0 } else { 0.6 * 250.0 };
            assert!((late.as_millis() / expected_ms - 1.0).abs() < 1e-3, "{late}");
            assert_eq!(delivered.first_token.unwrap(), record.first_token.unwrap() + late);
            let is_in_time = delivered.ended <= record.request.deadline.unwrap();
            assert_eq!(delivered.is_met(), is_in_time, "met means in time by the true channel's times");
        }
    }

    #[test]
    fn a_better_channel_than_estimated_changes_nothing() {
        let record = records(&scenario(PAPER, "")).into_iter().find(Record::is_met).unwrap();
        let mut outcomes = ChannelOutcomes::of(&scenario(PAPER, ""));
        outcomes.truths.insert(record.request.id, Gains { uplink: 1.0, downlink: 1.0 });
        assert_eq!(outcomes.deliver(record.clone()), record);
    }

    #[test]
    fn a_transmission_over_a_dead_channel_ends_after_a_hundred_slots() {
        let record = records(&scenario(CONTINUOUS, "")).into_iter().find(Record::is_met).unwrap();
        let mut outcomes = ChannelOutcomes::of(&scenario(CONTINUOUS, ""));
        outcomes.truths.insert(record.request.id, Gains { uplink: 0.0, downlink: 1.0 });
        let delivered = outcomes.deliver(record.clone());
        assert_eq!(delivered.ended, record.ended + Span::from_millis(99 * 250));
        assert!(matches!(delivered.outcome, Outcome::Late(_)), "{delivered:#?}");
    }

    #[test]
    fn a_larger_channel_error_makes_admitted_requests_late_and_changes_no_request() {
        for text in [PAPER, CONTINUOUS] {
            let exact = records(&scenario(text, ""));
            let perfect = records(&scenario(text, "[knowledge]\nchannel_error_db = 0.0"));
            assert_eq!(perfect, exact, "no error is no change");
            // Shares have no reserve, so half of the estimates are too optimistic. That costs an epoch, which is
            // more than any slack; under `continuous` it costs a few milliseconds, which only some requests lack.
            let rough = records(&scenario(text, "[knowledge]\nchannel_error_db = 3.0"));
            let left = if text == PAPER { 0.8 } else { 1.0 };
            assert!((met(&rough) as f64) < left * met(&exact) as f64, "{} of {}", met(&rough), met(&exact));
            let requests = |records: &[Record]| {
                let mut requests: Vec<_> = records
                    .iter()
                    .map(|record| (record.request.id, record.request.arrived, record.request.prompt_len))
                    .collect();
                requests.sort();
                requests
            };
            assert_eq!(requests(&rough), requests(&exact));
        }
    }
}
