//! The radio channel of one user: distance path loss and Rayleigh block fading.
//!
//! Rates and shares follow from the gain in the core's allocator.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use crate::random::{self, Purpose};

/// Where users stand and what their channel does (`model.md §1`).
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// No user stands nearer to the node than this, in metres.
    pub min_distance_m: f64,
    /// Radius of the cell in metres.
    pub radius_m: f64,
    /// Whether the channel fades.
    pub fading: Fading,
    /// Payload of one token in bits, `b`; the same both ways.
    pub bits_per_token: f64,
}

/// What the channel does to the power besides losing it over the distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fading {
    /// Nothing.
    None,
    /// `|h|² ~ Exp(1)`, drawn once for each request: the block is the interval in which it is scheduled.
    Rayleigh,
}

/// Loss of power over a distance, in decibels.
///
/// ```text
/// PL = 128.1 + 37.6 · log10(d / km)
/// ```
///
/// The simple macro-cell model of many edge papers; which one the paper uses is not known.
///
/// # Examples
///
/// ```
/// assert_eq!(hedgerow_sim::path_loss_db(1000.0), 128.1);
/// ```
pub fn path_loss_db(distance_m: f64) -> f64 {
    128.1 + 37.6 * (distance_m / 1000.0).log10()
}

/// Channel power gain `g = |h|² · 10^(−PL/10)` (`model.md §1`).
fn power_gain(distance_m: f64, fading: f64) -> f64 {
    fading * 10_f64.powf(-path_loss_db(distance_m) / 10.0)
}

/// Draws one user's gain after the other.
#[derive(Clone, Debug)]
pub(crate) struct GainDraws {
    cell: Cell,
    places: ChaCha8Rng,
    fading: ChaCha8Rng,
}

impl GainDraws {
    pub(crate) fn new(cell: Cell, seed: u64) -> Self {
        Self {
            cell,
            places: random::stream(seed, Purpose::Places),
            fading: random::stream(seed, Purpose::Fading),
        }
    }

    /// The gain of the next user.
    pub(crate) fn draw(&mut self) -> f64 {
        let Cell { min_distance_m, radius_m, .. } = self.cell;
        // Uniform over the disc's area, so the square of the distance is uniform.
        let part: f64 = self.places.random();
        let (nearest, farthest) = (min_distance_m.powi(2), radius_m.powi(2));
        let distance_m = (nearest + part * (farthest - nearest)).sqrt();
        let fading = match self.cell.fading {
            Fading::None => 1.0,
            Fading::Rayleigh => Exp1.sample(&mut self.fading),
        };
        power_gain(distance_m, fading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_core::allocator::{Channel, Share, full_band_rate, share_needed};
    use hedgerow_core::time::Span;
    use hedgerow_core::units::{Bits, Hertz, Watts};

    fn assert_close(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-4, "{value} is not {expected}");
    }

    fn cell(fading: Fading) -> Cell {
        Cell { min_distance_m: 10.0, radius_m: 250.0, fading, bits_per_token: 32.0 }
    }

    #[test]
    fn loses_90_5_db_over_100_m_and_105_46_db_over_250_m() {
        assert_close(path_loss_db(100.0), 90.5);
        assert_close(path_loss_db(250.0), 105.4625);
    }

    #[test]
    fn carries_what_shannon_says_for_20_dbm_over_100_m_and_20_mhz() {
        // By hand: noise −174 dBm/Hz + 73.01 dB = −100.99 dBm; received 20 − 90.5 = −70.5 dBm;
        // a ratio of 30.49 dB = 1119.4, so 20 MHz · log2(1120.4) = 202.60 Mbit/s.
        let uplink = Channel {
            bandwidth: Hertz::new(20e6),
            transmit_power: Watts::new(0.1),
            noise_density_w_per_hz: 10_f64.powf(-20.4),
        };
        let rate = full_band_rate(&uplink, power_gain(100.0, 1.0));
        assert_close(rate.get(), 202.6e6);
        // 512 tokens of 32 bits in 250 ms: 65.5 kbit/s, a share of 0.0323 %.
        let share = share_needed(Bits::new(16_384.0), Span::from_millis(250), rate);
        assert_close(share.fraction(), 3.2347e-4);
        assert!(share < Share::WHOLE);
    }

    #[test]
    fn half_of_the_users_stand_in_the_outer_half_of_the_area() {
        let mut draws = GainDraws::new(cell(Fading::None), 1);
        let halfway_m = ((10.0_f64.powi(2) + 250.0_f64.powi(2)) / 2.0).sqrt();
        let weak = (0..10_000).filter(|_| draws.draw() < power_gain(halfway_m, 1.0)).count();
        assert!((4_850..5_150).contains(&weak), "{weak} of 10,000");
    }

    #[test]
    fn rayleigh_fading_leaves_the_mean_power_as_it_is() {
        let (mut still, mut faded) =
            (GainDraws::new(cell(Fading::None), 1), GainDraws::new(cell(Fading::Rayleigh), 1));
        // The same places: their ratio is the fading alone.
        let ratios: Vec<f64> = (0..20_000).map(|_| faded.draw() / still.draw()).collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let deep = ratios.iter().filter(|&&ratio| ratio < 0.1).count() as f64 / ratios.len() as f64;
        assert!((deep - 0.0952).abs() < 0.01, "P(|h|² < 0.1) = 1 − e^−0.1, not {deep}");
    }
}
