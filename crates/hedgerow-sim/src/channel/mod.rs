//! The radio channel of a user: its place, path loss, shadowing and fading, and the node's estimate of the gain.
//!
//! The core's allocator turns the gain into rates and shares.

mod fading;
mod path_loss;
mod places;
mod shadowing;

use fading::{Faded, Fader};
use hedgerow_core::time::{Instant, Span};
use hedgerow_workload::{Purpose, normal_cdf, stream};
use places::Places;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use shadowing::Field;

pub(crate) use fading::correlation;
pub use fading::{Direct, Fading};
pub(crate) use path_loss::USER_HEIGHT_M_MAX;
pub use path_loss::{PathLoss, Propagation, Sight, path_loss_db};
pub use shadowing::Shadowing;

/// Correlation distance of the line-of-sight state (TR 38.901, table 7.6.3.1-2): outdoors and indoors.
const SIGHT_CORRELATION_M: [f64; 2] = [50.0, 10.0];

/// The radio cell: where users are and how their channels behave (`model.md §1`).
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Least distance of a user from the node in metres.
    pub min_distance_m: f64,
    /// Radius of the cell in metres.
    pub radius_m: f64,
    /// The small-scale fading.
    pub fading: Fading,
    /// Payload of one token in bits, `b`; the same both ways.
    pub bits_per_token: f64,
    /// The path loss and the line of sight.
    pub propagation: Propagation,
    /// Shadowing of users with and without line of sight; `None` for no shadowing.
    pub shadowing: Option<[Shadowing; 2]>,
    /// Number of moving users who send all requests; 0 gives each request a user at a place of its own.
    pub walkers: u32,
    /// Speed of the users in metres per second.
    pub speed_m_per_s: f64,
    /// Lengths of the uplink and downlink slots, over which Jakes fading is averaged.
    pub slots: [Span; 2],
    /// SNR over the whole band at a gain of 1, uplink and downlink, less the modem's gap.
    pub snr_of_gain: [f64; 2],
}

impl Cell {
    /// A cell with the macro path loss, no shadowing and users at rest.
    pub const fn simple(min_distance_m: f64, radius_m: f64, fading: Fading, bits_per_token: f64) -> Self {
        Self {
            min_distance_m,
            radius_m,
            fading,
            bits_per_token,
            propagation: Propagation::MACRO,
            shadowing: None,
            walkers: 0,
            speed_m_per_s: 0.0,
            slots: [Span::ZERO; 2],
            snr_of_gain: [1.0; 2],
        }
    }
}

/// How well the node knows a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelKnowledge {
    /// Standard deviation of the estimate's error in decibels.
    pub error_db: f64,
    /// Age of the estimate.
    pub delay: Span,
}

impl ChannelKnowledge {
    fn is_perfect(&self) -> bool {
        *self == Self::default()
    }
}

/// Channel power gains each way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// From the user to the node.
    pub uplink: f64,
    /// From the node to the user.
    pub downlink: f64,
}

/// The channel of a user at its request's arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drawn {
    /// The node's estimate.
    pub(crate) known: Gains,
    /// The true gains; `None` if the node knows them exactly.
    pub(crate) truth: Option<Gains>,
}

/// Draws the gains of one request after another.
#[derive(Clone, Debug)]
pub(crate) struct GainDraws {
    propagation: Propagation,
    snr_of_gain: [f64; 2],
    knowledge: ChannelKnowledge,
    places: Places,
    /// Random field of the line-of-sight state, if that is drawn.
    sight: Option<Field>,
    /// Standard deviation and random field of the shadowing, for users with and without line of sight.
    shadows: Option<[(f64, Field); 2]>,
    fader: Fader,
    errors: ChaCha8Rng,
}

impl GainDraws {
    pub(crate) fn new(cell: &Cell, knowledge: ChannelKnowledge, seed: u64) -> Self {
        let stream = |purpose| stream(seed, purpose);
        let Propagation { path_loss, sight, .. } = cell.propagation;
        let is_drawn = sight == Sight::Drawn && path_loss != PathLoss::Macro;
        let correlation_m = SIGHT_CORRELATION_M[usize::from(path_loss == PathLoss::Inh)];
        let mut maps = stream(Purpose::Shadowing);
        let mut shadow =
            |Shadowing { sigma_db, correlation_m }| (sigma_db, Field::new(correlation_m, &mut maps));
        Self {
            propagation: cell.propagation,
            snr_of_gain: cell.snr_of_gain,
            knowledge,
            places: Places::new(cell, seed),
            sight: is_drawn.then(|| Field::new(correlation_m, &mut stream(Purpose::Sight))),
            shadows: cell.shadowing.map(|both| both.map(&mut shadow)),
            fader: Fader::new(cell, knowledge.delay, stream(Purpose::Fading), stream(Purpose::EstimateAging)),
            errors: stream(Purpose::Estimates),
        }
    }

    /// Draws the channel of a request that arrives now; `now` never decreases.
    pub(crate) fn draw(&mut self, now: Instant) -> Drawn {
        let place = self.places.draw(now);
        let distance_m = place[0].hypot(place[1]);
        let in_sight = self.is_in_sight(place, distance_m);
        let shadow_db = self.shadows.as_ref().map_or(0.0, |[sighted, hidden]| {
            let (sigma_db, field) = if in_sight { sighted } else { hidden };
            sigma_db * field.at(place)
        });
        let mean = from_db(-(self.propagation.loss_db(distance_m, in_sight) + shadow_db));
        let Faded { truth, measured } = self.fader.draw(in_sight, self.snr_of_gain.map(|snr| snr * mean));
        let gains = |[up, down]: [f64; 2]| Gains { uplink: up * mean, downlink: down * mean };
        if self.knowledge.is_perfect() {
            return Drawn { known: gains(truth), truth: None };
        }
        let normal: f64 = StandardNormal.sample(&mut self.errors);
        let error = from_db(self.knowledge.error_db * normal);
        Drawn { known: gains(measured.map(|power| power * error)), truth: Some(gains(truth)) }
    }

    /// Whether there is line of sight at a place. Its probability depends on the distance; a random field decides, so
    /// that nearby users have the same state.
    fn is_in_sight(&self, place: [f64; 2], distance_m: f64) -> bool {
        let probability = self.propagation.sight_probability(distance_m);
        self.sight.as_ref().map_or(probability >= 1.0, |field| normal_cdf(field.at(place)) < probability)
    }
}

/// Converts decibels to a factor.
pub(crate) fn from_db(db: f64) -> f64 {
    10_f64.powf(db / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_core::allocator::{Channel, Modem, Share, full_band_rate, share_needed};
    use hedgerow_core::units::{Bits, Hertz, Watts};

    fn assert_close(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-4, "{value} is not {expected}");
    }

    fn cell(fading: Fading) -> Cell {
        Cell::simple(10.0, 250.0, fading, 32.0)
    }

    fn draws(cell: &Cell, knowledge: ChannelKnowledge) -> impl Iterator<Item = Drawn> {
        let mut draws = GainDraws::new(cell, knowledge, 1);
        std::iter::repeat_with(move || draws.draw(Instant::START))
    }

    fn gains(cell: &Cell) -> impl Iterator<Item = f64> {
        draws(cell, ChannelKnowledge::default()).map(|drawn| drawn.known.uplink)
    }

    fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn the_rate_is_shannons_for_20_dbm_over_100_m_and_20_mhz() {
        // By hand: noise −174 dBm/Hz + 73.01 dB = −100.99 dBm; received 20 − 90.5 = −70.5 dBm;
        // a ratio of 30.49 dB = 1119.4, so 20 MHz · log2(1120.4) = 202.60 Mbit/s.
        let uplink = Channel {
            bandwidth: Hertz::new(20e6),
            transmit_power: Watts::new(0.1),
            noise_density_w_per_hz: 10_f64.powf(-20.4),
            modem: Modem::IDEAL,
        };
        let rate = full_band_rate(&uplink, from_db(-path_loss_db(100.0)));
        assert_close(rate.get(), 202.6e6);
        // 512 tokens of 32 bits in 250 ms: 65.5 kbit/s, a share of 0.0323 %.
        let share = share_needed(Bits::new(16_384.0), Span::from_millis(250), rate);
        assert_close(share.fraction(), 3.2347e-4);
        assert!(share < Share::WHOLE);
    }

    #[test]
    fn rayleigh_fading_leaves_the_mean_power_as_it_is() {
        // Both cells have the same places, so the ratio is the fading alone.
        let ratios: Vec<f64> = gains(&cell(Fading::Rayleigh))
            .zip(gains(&cell(Fading::None)))
            .map(|(faded, still)| faded / still)
            .take(20_000)
            .collect();
        let (mean, _) = mean_and_deviation(&ratios);
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let deep = ratios.iter().filter(|&&ratio| ratio < 0.1).count() as f64 / ratios.len() as f64;
        assert!((deep - 0.0952).abs() < 0.01, "P(|h|² < 0.1) = 1 − e^−0.1, not {deep}");
    }

    #[test]
    fn the_share_of_users_in_sight_is_that_of_the_distance() {
        let propagation = Propagation {
            path_loss: PathLoss::Umi,
            carrier_ghz: 3.5,
            node_height_m: 10.0,
            user_height_m: 1.5,
            sight: Sight::Drawn,
        };
        // All users are 50 m away, where 52 % have line of sight; each seed has one field, so many seeds are needed.
        let cell = Cell { min_distance_m: 50.0, radius_m: 50.0, propagation, ..cell(Fading::None) };
        let loss_db = |in_sight| propagation.loss_db(50.0, in_sight);
        let halfway = from_db(-(loss_db(true) + loss_db(false)) / 2.0);
        let is_sighted = |seed| {
            GainDraws::new(&cell, ChannelKnowledge::default(), seed).draw(Instant::START).known.uplink
                > halfway
        };
        let sighted = (0..2_000).filter(|&seed| is_sighted(seed)).count();
        // Four standard deviations of 2,000 coins.
        assert!((950..1_129).contains(&sighted), "{sighted} of 2,000");
    }

    #[test]
    fn shadowing_has_the_configured_deviation() {
        let shadowing = Shadowing { sigma_db: 6.0, correlation_m: 5.0 };
        let shaded = Cell { shadowing: Some([shadowing; 2]), ..cell(Fading::None) };
        let depths: Vec<f64> = gains(&shaded)
            .zip(gains(&cell(Fading::None)))
            .map(|(shaded, clear)| 10.0 * (shaded / clear).log10())
            .take(10_000)
            .collect();
        // A field of 250 m has about a thousand independent places.
        let (mean, deviation) = mean_and_deviation(&depths);
        assert!(mean.abs() < 0.8 && (deviation - 6.0).abs() < 0.6, "{mean} ± {deviation} dB");
    }

    #[test]
    fn an_estimate_has_the_configured_error_and_the_true_gain_stays() {
        let knowledge = ChannelKnowledge { error_db: 3.0, delay: Span::ZERO };
        let cell = cell(Fading::Rayleigh);
        let drawn: Vec<Drawn> = draws(&cell, knowledge).take(10_000).collect();
        let errors: Vec<f64> = drawn
            .iter()
            .map(|drawn| 10.0 * (drawn.known.uplink / drawn.truth.unwrap().uplink).log10())
            .collect();
        let (mean, deviation) = mean_and_deviation(&errors);
        assert!(mean.abs() < 0.12 && (deviation - 3.0).abs() < 0.1, "{mean} ± {deviation} dB");
        let exact = gains(&cell).take(10_000);
        assert!(drawn.iter().map(|drawn| drawn.truth.unwrap().uplink).eq(exact));
    }
}
