//! The radio: data rates from channel gains, and band shares from data rates.

use std::fmt;
use std::ops::{Add, Sub};

use super::modem::{Modem, PowerOver};
use crate::model::time::Span;
use crate::model::units::{Bits, BitsPerSecond, Hertz, Watts};

/// The node's radio (`model.md §1`).
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Radio {
    /// Channel from the callers to the node.
    pub uplink: Channel,
    /// Channel from the node to the callers.
    pub downlink: Channel,
    /// Time in which the prompt of a started request is transmitted, `T_U`.
    pub uplink_slot: Span,
    /// Time in which an answer is transmitted, `T_D`.
    pub downlink_slot: Span,
}

/// One direction of the band.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Channel {
    /// Its bandwidth, `B`.
    pub bandwidth: Hertz,
    /// The sender's power, `p`.
    pub transmit_power: Watts,
    /// Noise density `N0`, in watts per hertz.
    pub noise_density_w_per_hz: f64,
    /// How it turns power into a data rate.
    #[serde(default)]
    pub modem: Modem,
}

impl Channel {
    /// Signal-to-noise ratio of a sender on the whole band.
    pub fn snr(&self, gain: f64) -> f64 {
        let noise_w = self.noise_density_w_per_hz * self.bandwidth.get();
        self.transmit_power.get() * gain / noise_w
    }
}

/// Rate of one user on the whole band.
///
/// ```text
/// R = B · log2(1 + p·g / (N0·B))         Shannon; else as Modem::efficiency    model.md §1
/// ```
pub fn full_band_rate(channel: &Channel, gain: f64) -> BitsPerSecond {
    BitsPerSecond::new(channel.bandwidth.get() * channel.modem.efficiency(channel.snr(gain)))
}

/// Rate of one user on its share of the band.
pub fn rate_on(channel: &Channel, share: Share, gain: f64) -> BitsPerSecond {
    let fraction = share.fraction();
    match channel.modem.power_over {
        PowerOver::Band => full_band_rate(channel, gain) * fraction,
        PowerOver::Share if share == Share::NONE => BitsPerSecond::new(0.0),
        PowerOver::Share => {
            let efficiency = channel.modem.efficiency(channel.snr(gain) / fraction);
            BitsPerSecond::new(channel.bandwidth.get() * fraction * efficiency)
        }
    }
}

/// The least share of the band that carries a payload within a slot at this gain, rounded up; more than
/// [`Share::WHOLE`] where not even the whole band does.
pub fn share_for(channel: &Channel, payload: Bits, slot: Span, gain: f64) -> Share {
    match channel.modem.power_over {
        PowerOver::Band => share_needed(payload, slot, full_band_rate(channel, gain)),
        PowerOver::Share if payload.get() == 0.0 => Share::NONE,
        PowerOver::Share => {
            let needed = payload.get() / (slot.as_seconds() * channel.bandwidth.get());
            let fraction = channel.modem.concentrated_fraction(channel.snr(gain), needed);
            fraction.map_or(Share::NEVER, Share::of)
        }
    }
}

/// The least share of the band that carries a payload within a slot, rounded up.
///
/// ```text
/// ρ = bits / (T · R)                                                    model.md §1
/// ```
///
/// A payload that not even the whole band can carry needs more than [`Share::WHOLE`], so that it fits no batch.
pub fn share_needed(payload: Bits, slot: Span, rate: BitsPerSecond) -> Share {
    if payload.get() == 0.0 {
        return Share::NONE;
    }
    Share::of(payload.get() / (slot.as_seconds() * rate.get()))
}

/// A share of the band, in billionths: integers, so that shares add up exactly.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
pub struct Share(pub u64);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The whole band.
    pub const WHOLE: Self = Self(1_000_000_000);
    /// Far more than the whole band, yet small enough that sums do not overflow.
    pub const NEVER: Self = Self(1_000_000_000_000);

    /// A fraction as a share, rounded up and capped at [`Share::NEVER`].
    pub fn of(fraction: f64) -> Self {
        // `as` saturates, also for the infinite share of a channel without gain.
        Self((fraction * Self::WHOLE.0 as f64).ceil() as u64).min(Self::NEVER)
    }

    /// The share as a fraction.
    pub fn fraction(self) -> f64 {
        self.0 as f64 / Self::WHOLE.0 as f64
    }
}

impl Add for Share {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Share {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} %", self.fraction() * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel {
            bandwidth: Hertz::new(1e6),
            transmit_power: Watts::new(1.0),
            noise_density_w_per_hz: 1e-9,
            modem: Modem::IDEAL,
        }
    }

    #[test]
    fn a_share_carries_its_payload_within_the_slot_however_power_is_spread() {
        use super::super::modem::Coding;
        for coding in [Coding::Shannon, Coding::Cqi] {
            for power_over in [PowerOver::Band, PowerOver::Share] {
                let channel = Channel { modem: Modem { coding, power_over, ..Modem::IDEAL }, ..channel() };
                let slot = Span::from_millis(250);
                let share = share_for(&channel, Bits::new(1e5), slot, 3e-3);
                let sent = rate_on(&channel, share, 3e-3).get() * slot.as_seconds();
                assert!((1e5 * (1.0 - 1e-6)..1e5 * (1.0 + 1e-6)).contains(&sent), "{channel:?}: {sent}");
                assert!(share_for(&channel, Bits::new(1e7), slot, 3e-3) > Share::WHOLE);
                assert_eq!(share_for(&channel, Bits::new(0.0), slot, 3e-3), Share::NONE);
            }
        }
    }

    #[test]
    fn one_megahertz_at_a_signal_three_times_the_noise_carries_two_megabits() {
        assert_eq!(full_band_rate(&channel(), 3e-3), BitsPerSecond::new(2e6));
    }

    #[test]
    fn half_a_megabit_in_half_a_second_needs_half_of_two_megabits() {
        let share = share_needed(Bits::new(5e5), Span::from_millis(500), BitsPerSecond::new(2e6));
        assert_eq!(share, Share(Share::WHOLE.0 / 2));
    }

    #[test]
    fn a_dead_channel_never_fits() {
        let rate = full_band_rate(&channel(), 0.0);
        assert!(share_needed(Bits::new(1.0), Span::from_millis(1), rate) > Share::WHOLE);
    }
}
