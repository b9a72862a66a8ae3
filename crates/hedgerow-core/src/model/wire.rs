//! The wired downlink: the rate at which an answer has to be sent, and when its last token must be ready for that.

use super::radio::Share;
use crate::model::time::Span;
use crate::model::units::{Bits, BitsPerSecond};

/// Part of a request's spare time, its total time less its least decoding time, that sending may take. A larger part
/// would need a smaller share of the link but leave less time to wait for a place.
const SENDING_PART: f64 = 0.25;

/// The node's wired link to its callers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Wire {
    /// Its total rate to all callers.
    pub downlink: BitsPerSecond,
    /// The minimum rate of an answer, at most [`Wire::downlink`]; the rate of answers without a deadline.
    pub least: BitsPerSecond,
}

/// One answer on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Payload {
    /// Its total size.
    pub whole: Bits,
    /// The part that is sent after the last token: for an answer that is not streamed, all of it.
    pub last: Bits,
    /// The least time between its first token and its last; zero for an answer that is not streamed.
    pub decoding: Span,
    /// The data rate that its tokens need to meet the TPOT target; zero without one.
    pub tpot_rate: BitsPerSecond,
}

impl Wire {
    /// The least constant rate that sends an answer within its decoding time and a quarter of its spare time, or
    /// within its total time if the link cannot do better; and no less than the rate that its TPOT target needs.
    ///
    /// ```text
    /// r = B / (t + (T − t)/4)        B bits, T from arrival to deadline, t decoding
    /// ```
    ///
    /// A rate above [`Wire::downlink`] means that even the whole link is too slow.
    pub fn rate(&self, payload: &Payload, time: Option<Span>) -> BitsPerSecond {
        let least = if payload.tpot_rate > self.least { payload.tpot_rate } else { self.least };
        let Some(time) = time else { return least };
        let decoding = payload.decoding.min(time);
        let window = decoding + (time - decoding).scaled(SENDING_PART);
        let wanted = BitsPerSecond::new(payload.whole.get() / window.as_seconds().max(f64::MIN_POSITIVE));
        let in_all_its_time = payload.whole.get() <= self.downlink.get() * time.as_seconds();
        let wanted = if wanted > self.downlink && in_all_its_time { self.downlink } else { wanted };
        if wanted < least { least } else { wanted }
    }

    /// How long after a request's arrival its last token may come, so that the answer's last bit leaves within
    /// `time`, whenever the tokens before it come.
    ///
    /// ```text
    /// T − max(b/r, B/r − t)          b bits that are sent after the last token
    /// ```
    ///
    /// Earlier tokens are sent at `r` while later ones are decoded. In the worst case all tokens come at the end, as
    /// fast as they can be decoded: then `t` of the `B/r` has passed when the last one comes. Zero if even the whole
    /// link is too slow.
    pub fn time_for_tokens(&self, payload: &Payload, time: Span) -> Span {
        let rate = self.rate(payload, Some(time));
        if rate > self.downlink {
            return Span::ZERO;
        }
        let all = Span::from(payload.whole / rate).saturating_sub(payload.decoding);
        time.saturating_sub(all.max(Span::from(payload.last / rate)))
    }

    /// The least total time that leaves `tokens` until the last token: the inverse of [`Wire::time_for_tokens`], by
    /// doubling and bisection.
    pub fn time_for_answer(&self, payload: &Payload, tokens: Span) -> Span {
        let is_enough = |time: u64| self.time_for_tokens(payload, Span(time)) >= tokens;
        let mut enough = tokens.0.max(1);
        while !is_enough(enough) && enough < u64::MAX / 2 {
            enough *= 2;
        }
        let mut too_little = 0;
        while too_little + 1 < enough {
            let middle = too_little + (enough - too_little) / 2;
            if is_enough(middle) {
                enough = middle;
            } else {
                too_little = middle;
            }
        }
        Span(enough)
    }

    /// A rate as a share of the downlink, rounded up.
    pub fn share(&self, rate: BitsPerSecond) -> Share {
        Share::of(rate.get() / self.downlink.get())
    }

    /// The rate of a share of the downlink.
    pub fn rate_of(&self, share: Share) -> BitsPerSecond {
        self.downlink * share.fraction()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIRE: Wire = Wire { downlink: BitsPerSecond::new(1e6), least: BitsPerSecond::new(16e3) };

    fn streamed(bits: f64, decoding_ms: u64) -> Payload {
        let decoding = Span::from_millis(decoding_ms);
        Payload { whole: Bits::new(bits), last: Bits::new(0.0), decoding, tpot_rate: BitsPerSecond::new(0.0) }
    }

    #[test]
    fn a_stream_is_sent_while_it_is_decoded_and_in_a_quarter_of_the_spare_time() {
        // 2 s of decoding and a quarter of the 8 s left: 400 kbit in 4 s.
        let payload = streamed(4e5, 2_000);
        let ten_seconds = Span::from_millis(10_000);
        let rate = WIRE.rate(&payload, Some(ten_seconds));
        assert_eq!((rate, WIRE.share(rate)), (BitsPerSecond::new(1e5), Share(Share::WHOLE.0 / 10)));
        // If all tokens come at the end, 2 s of those 4 s are left when the last one is ready.
        assert_eq!(WIRE.time_for_tokens(&payload, ten_seconds), Span::from_millis(8_000));
        assert_eq!(WIRE.time_for_answer(&payload, Span::from_millis(8_000)), ten_seconds);
    }

    #[test]
    fn an_answer_without_a_deadline_gets_the_minimum_rate() {
        assert_eq!(WIRE.rate(&streamed(4e5, 2_000), None), WIRE.least);
    }

    #[test]
    fn a_tpot_target_sets_the_rate_with_and_without_a_deadline() {
        let tpot_rate = BitsPerSecond::new(2e5);
        let payload = Payload { tpot_rate, ..streamed(4e5, 2_000) };
        assert_eq!(WIRE.rate(&payload, None), tpot_rate);
        assert_eq!(WIRE.rate(&payload, Some(Span::from_millis(10_000))), tpot_rate);
        assert_eq!(WIRE.rate(&payload, Some(Span::from_millis(2_000))), tpot_rate);
        let too_fast = Payload { tpot_rate: BitsPerSecond::new(2e6), ..payload };
        assert!(WIRE.rate(&too_fast, Some(Span::from_millis(400))) > WIRE.downlink);
    }

    #[test]
    fn only_what_the_whole_link_cannot_carry_in_time_never_fits() {
        let payload = streamed(2e6, 0);
        let just = WIRE.rate(&payload, Some(Span::from_millis(2_000)));
        assert_eq!(WIRE.share(just), Share::WHOLE);
        let too_much = WIRE.rate(&payload, Some(Span::from_millis(1_999)));
        assert!(WIRE.share(too_much) > Share::WHOLE, "{too_much}");
        // If the last token may come after 100 ms, the 2 s of sending follow.
        let least = WIRE.time_for_answer(&payload, Span::from_millis(100));
        assert_eq!(least, Span::from_millis(2_100));
    }

    proptest! {
        #[test]
        fn the_last_bit_leaves_in_time_whenever_the_tokens_come(
            gaps_ms in prop::collection::vec(0_u64..300, 1..60),
            step_ms in 1_u64..50,
            chunk_bits in 100.0..4e3,
            spare_ms in 1_u64..20_000,
        ) {
            let gaps = gaps_ms.len() as u32;
            let decoding = Span::from_millis(step_ms) * gaps;
            let chunk = Bits::new(chunk_bits);
            let payload = Payload { whole: chunk * f64::from(gaps + 1), last: chunk, decoding, tpot_rate: BitsPerSecond::new(0.0) };
            let time = decoding + Span::from_millis(spare_ms);
            let rate = WIRE.rate(&payload, Some(time));
            prop_assume!(rate <= WIRE.downlink);
            let last = WIRE.time_for_tokens(&payload, time).as_seconds();
            let chunk_s = (chunk / rate).get();
            // The last token as late as it may be, each other one at least a step before the next.
            let gaps_s = gaps_ms.iter().map(|more_ms| (step_ms + more_ms) as f64 / 1e3);
            let first = last - gaps_s.clone().sum::<f64>();
            let mut token = first;
            let mut sent = first + chunk_s;
            for gap in gaps_s {
                token += gap;
                sent = sent.max(token) + chunk_s;
            }
            prop_assert!(sent <= time.as_seconds() + 1e-6, "{sent} s of {time}");
        }
    }
}
