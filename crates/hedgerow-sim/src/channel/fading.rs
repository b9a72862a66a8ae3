//! Small-scale fading: multipath interference within metres and milliseconds.

use std::f64::consts::TAU;

use hedgerow_core::time::Span;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, StandardNormal};

use super::Cell;

/// Number of scattered paths. More would be closer to Rayleigh: the mean of `|h|⁴` is 2 − 1/16.
const ECHOES: usize = 16;

/// The model of small-scale fading, on top of path loss and shadowing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fading {
    /// No fading.
    None,
    /// Block fading `|h|² ~ Exp(1)`, drawn once per request: the block is the interval in which it is scheduled.
    Rayleigh,
    /// Block fading with a direct path and scattered paths, drawn once per request. Users without line of sight
    /// have [`Fading::Rayleigh`].
    Rician(Direct),
    /// Scattered paths that change as the user moves (Jakes), averaged over each slot.
    Jakes {
        /// Sampling interval of the channel within a slot.
        step: Span,
        /// The direct path of users with line of sight, if there is one.
        direct: Option<Direct>,
    },
}

/// The Rician factor `K`: power of the direct path over that of all scattered paths, normally distributed in
/// decibels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direct {
    /// Its mean.
    pub k_db: f64,
    /// Its standard deviation.
    pub k_sigma_db: f64,
}

/// The fading factor `|h|²` of a gain each way: the true one, and the one the node measured earlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Faded {
    pub(super) truth: [f64; 2],
    pub(super) measured: [f64; 2],
}

/// Draws the fading of one request after another.
#[derive(Clone, Debug)]
pub(super) struct Fader {
    fading: Fading,
    doppler_hz: f64,
    /// Age of a measurement.
    delay: Span,
    /// Lengths of the uplink and downlink slots.
    slots: [Span; 2],
    draws: ChaCha8Rng,
    /// The change between a measurement and its use has its own stream, so that the channel does not depend on what
    /// the node knows.
    later: ChaCha8Rng,
}

impl Fader {
    pub(super) fn new(cell: &Cell, delay: Span, draws: ChaCha8Rng, later: ChaCha8Rng) -> Self {
        let Cell { fading, slots, propagation, speed_m_per_s, .. } = cell;
        let doppler_hz = propagation.doppler_hz(*speed_m_per_s);
        Self { fading: *fading, doppler_hz, delay, slots: *slots, draws, later }
    }

    /// Draws the fading of the next request, given line of sight and the mean uplink and downlink SNR.
    pub(super) fn draw(&mut self, in_sight: bool, snr: [f64; 2]) -> Faded {
        match self.fading {
            Fading::None => Faded { truth: [1.0; 2], measured: [1.0; 2] },
            Fading::Rayleigh => self.block(None),
            Fading::Rician(direct) => self.block(Some(direct).filter(|_| in_sight)),
            Fading::Jakes { step, direct } => {
                let direct = direct.filter(|_| in_sight);
                let path = Moving::draw(self.doppler_hz, direct, &mut self.draws);
                let average =
                    |way: usize, before: Span| path.average(before, self.slots[way], step, snr[way]);
                let both = |before| [0, 1].map(|way| average(way, before));
                Faded { truth: both(Span::ZERO), measured: both(self.delay) }
            }
        }
    }

    /// Draws one fading for both slots. The earlier measurement is correlated with it as in Clarke's model.
    fn block(&mut self, direct: Option<Direct>) -> Faded {
        let (line, echoes) = direct.map_or((0.0, 1.0), |direct| direct.amplitudes(&mut self.draws));
        // Only the angle between the direct and the scattered paths matters, and it is uniform.
        let power = |x: f64, y: f64| (line + echoes * x).powi(2) + (echoes * y).powi(2);
        let (truth, echo_x, echo_y) = match direct {
            None => {
                let truth: f64 = Exp1.sample(&mut self.draws);
                (truth, truth.sqrt(), 0.0)
            }
            Some(_) => {
                let (x, y) = gaussian(&mut self.draws);
                (power(x, y), x, y)
            }
        };
        if self.delay == Span::ZERO {
            return Faded { truth: [truth; 2], measured: [truth; 2] };
        }
        let rho = correlation(self.doppler_hz, self.delay);
        let independent = (1.0 - rho * rho).sqrt();
        let (other_x, other_y) = gaussian(&mut self.later);
        let measured = power(rho * echo_x + independent * other_x, rho * echo_y + independent * other_y);
        Faded { truth: [truth; 2], measured: [measured; 2] }
    }
}

impl Direct {
    /// Amplitudes of the direct path and of the scattered paths; their powers add up to 1.
    fn amplitudes(self, draws: &mut ChaCha8Rng) -> (f64, f64) {
        let normal: f64 = StandardNormal.sample(draws);
        let k = 10_f64.powf((self.k_db + self.k_sigma_db * normal) / 10.0);
        ((k / (k + 1.0)).sqrt(), (1.0 / (k + 1.0)).sqrt())
    }
}

/// Autocorrelation of the scattered paths at a time lag (Clarke): `J0(2π·f_D·t)`.
pub(crate) fn correlation(doppler_hz: f64, apart: Span) -> f64 {
    libm::j0(TAU * doppler_hz * apart.as_seconds())
}

/// Draws a complex Gaussian number with mean square 1.
fn gaussian(draws: &mut ChaCha8Rng) -> (f64, f64) {
    let mut part = || -> f64 { StandardNormal.sample(&mut *draws) };
    (part() * 0.5_f64.sqrt(), part() * 0.5_f64.sqrt())
}

/// The channel of a moving user: scattered paths from random directions, each with the Doppler shift of its
/// angle (Clarke 1968, Jakes 1974).
///
/// ```text
/// h(t) = 1/√N · Σ e^(j(2π·f_D·cos α·t + φ))         E[h(t)·h*(t+τ)] = J0(2π·f_D·τ)
/// ```
#[derive(Clone, Debug)]
struct Moving {
    /// Amplitude, angular frequency and phase.
    waves: Vec<(f64, f64, f64)>,
}

impl Moving {
    fn draw(doppler_hz: f64, direct: Option<Direct>, draws: &mut ChaCha8Rng) -> Self {
        let (line, echoes) = direct.map_or((0.0, 1.0), |direct| direct.amplitudes(draws));
        let mut wave = |amplitude: f64| {
            let frequency = TAU * doppler_hz * (TAU * draws.random::<f64>()).cos();
            (amplitude, frequency, TAU * draws.random::<f64>())
        };
        let echo = echoes / (ECHOES as f64).sqrt();
        let mut waves: Vec<_> = (0..ECHOES).map(|_| wave(echo)).collect();
        waves.extend(direct.map(|_| wave(line)));
        Self { waves }
    }

    /// The constant `|h|²` with the slot's mean spectral efficiency, for a slot that begins `before` now.
    ///
    /// ```text
    /// (2^E[log2(1 + SNR·|h|²)] − 1) / SNR
    /// ```
    ///
    /// Link-level abstractions call it the capacity-effective SNR: a varying signal becomes one value for a rate
    /// table.
    fn average(&self, before: Span, slot: Span, step: Span, snr: f64) -> f64 {
        let count = (slot.0.div_ceil(step.0.max(1))).max(1);
        let step_s = step.as_seconds();
        // Each wave rotates by a constant angle per step, so a complex product replaces a sine and a cosine.
        let mut waves: Vec<_> = self
            .waves
            .iter()
            .map(|&(amplitude, frequency, phase)| {
                let (y, x) = (phase - frequency * before.as_seconds()).sin_cos();
                let (turn_y, turn_x) = (frequency * step_s).sin_cos();
                (amplitude * x, amplitude * y, turn_x, turn_y)
            })
            .collect();
        let mut bits = 0.0;
        for _ in 0..count {
            let (mut sum_x, mut sum_y) = (0.0, 0.0);
            for (x, y, turn_x, turn_y) in &mut waves {
                sum_x += *x;
                sum_y += *y;
                (*x, *y) = (*x * *turn_x - *y * *turn_y, *x * *turn_y + *y * *turn_x);
            }
            bits += (snr * (sum_x * sum_x + sum_y * sum_y)).ln_1p();
        }
        // At SNR 0 the limit is the mean power; no caller uses it.
        if snr > 0.0 { (bits / count as f64).exp_m1() / snr } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    const STEP: Span = Span::from_millis(5);
    const SLOT: Span = Span::from_millis(250);

    fn fader(fading: Fading, doppler_hz: f64, delay: Span) -> Fader {
        let draws = |seed| ChaCha8Rng::seed_from_u64(seed);
        Fader { fading, doppler_hz, delay, slots: [SLOT; 2], draws: draws(1), later: draws(2) }
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn powers(fading: Fading) -> Vec<f64> {
        let mut fader = fader(fading, 0.0, Span::ZERO);
        (0..40_000).map(|_| fader.draw(true, [1.0; 2]).truth[0]).collect()
    }

    #[test]
    fn rician_fading_has_its_moments() {
        for k_db in [-5.0, 0.0, 9.0] {
            let powers = powers(Fading::Rician(Direct { k_db, k_sigma_db: 0.0 }));
            let k = 10_f64.powf(k_db / 10.0);
            assert!((mean(powers.iter().copied()) - 1.0).abs() < 0.02, "E|h|² = 1");
            // E|h|⁴ = (k² + 4k + 2)/(k + 1)²
            let expected = (k * k + 4.0 * k + 2.0) / (k + 1.0).powi(2);
            let measured = mean(powers.iter().map(|power| power * power));
            assert!((measured / expected - 1.0).abs() < 0.04, "{k_db} dB: {measured} is not {expected}");
        }
    }

    #[test]
    fn a_user_without_line_of_sight_has_no_direct_path() {
        let mut fader = fader(Fading::Rician(Direct { k_db: 20.0, k_sigma_db: 0.0 }), 0.0, Span::ZERO);
        let fourth = mean((0..40_000).map(|_| fader.draw(false, [1.0; 2]).truth[0].powi(2)));
        assert!((fourth / 2.0 - 1.0).abs() < 0.05, "E|h|⁴ of Rayleigh is 2, not {fourth}");
    }

    #[test]
    fn the_autocorrelation_is_the_bessel_function() {
        // At 9.73 Hz: J0 of 0.0611, 0.611, 1.528 and 3.057.
        for (apart_ms, expected) in [(1, 0.9991), (10, 0.9087), (25, 0.4969), (50, -0.2787)] {
            let apart = Span::from_millis(apart_ms);
            assert!((correlation(9.73, apart) - expected).abs() < 1e-3, "{}", correlation(9.73, apart));
            let mut draws = ChaCha8Rng::seed_from_u64(3);
            let product = |_| {
                let path = Moving::draw(9.73, None, &mut draws);
                let at = |t: f64| {
                    path.waves.iter().fold((0.0, 0.0), |(x, y), &(amplitude, frequency, phase)| {
                        let (sine, cosine) = (frequency * t + phase).sin_cos();
                        (x + amplitude * cosine, y + amplitude * sine)
                    })
                };
                let ((x, y), (later_x, later_y)) = (at(0.3), at(0.3 + apart.as_seconds()));
                x * later_x + y * later_y
            };
            let measured = mean((0..20_000).map(product));
            // Four standard deviations of 20,000 products.
            assert!((measured - expected).abs() < 0.03, "{apart_ms} ms: {measured} is not {expected}");
        }
    }

    #[test]
    fn a_slot_averages_only_the_changes_within_it() {
        let spread = |doppler_hz| {
            let fading = Fading::Jakes { step: STEP, direct: None };
            let mut fader = fader(fading, doppler_hz, Span::ZERO);
            let powers: Vec<f64> = (0..3_000).map(|_| fader.draw(true, [0.01; 2]).truth[0]).collect();
            // At so low an SNR the rate is proportional to the power, so the mean stays 1.
            let mean = mean(powers.iter().copied());
            assert!((mean - 1.0).abs() < 0.08, "{doppler_hz} Hz: {mean}");
            (powers.iter().map(|power| (power - mean).powi(2)).sum::<f64>() / 3_000.0).sqrt()
        };
        // Without movement it is that of Rayleigh fading: 1. A pedestrian sees about six coherence times, a car more.
        let [still, walking, driving] = [0.0, 9.73, 97.3].map(spread);
        assert!((still - 1.0).abs() < 0.1, "{still}");
        assert!(walking < 0.6 && driving < 0.6 * walking, "{walking}, {driving}");
    }

    #[test]
    fn a_varying_signal_carries_less_than_its_mean_power() {
        // Jensen: at a high SNR the loss of Rayleigh fading is e^−γ = 0.5615 of the power.
        let fading = Fading::Jakes { step: STEP, direct: None };
        let mut fader = fader(fading, 400.0, Span::ZERO);
        let effective = mean((0..500).map(|_| fader.draw(true, [1e4; 2]).truth[0].ln())).exp();
        assert!((effective - 0.5615).abs() < 0.04, "{effective}");
    }

    #[test]
    fn the_correlation_of_a_measurement_falls_with_its_age() {
        for (doppler_hz, fading) in
            [(9.73, Fading::Rayleigh), (9.73, Fading::Rician(Direct { k_db: -30.0, k_sigma_db: 0.0 }))]
        {
            let correlation_of = |delay_ms| {
                let mut fader = fader(fading, doppler_hz, Span::from_millis(delay_ms));
                let faded: Vec<Faded> = (0..20_000).map(|_| fader.draw(true, [1.0; 2])).collect();
                // Powers of unit mean and variance: their correlation is the square of the amplitudes'.
                mean(faded.iter().map(|faded| (faded.truth[0] - 1.0) * (faded.measured[0] - 1.0)))
            };
            for (delay_ms, expected) in [(1, 0.998), (10, 0.826), (25, 0.247)] {
                let measured = correlation_of(delay_ms);
                assert!((measured - expected).abs() < 0.1, "{delay_ms} ms: {measured} is not {expected}");
            }
        }
    }

    #[test]
    fn the_measurement_delay_does_not_change_the_channel() {
        for fading in [Fading::Rayleigh, Fading::Jakes { step: STEP, direct: None }] {
            let truths = |delay| {
                let mut fader = fader(fading, 9.73, delay);
                (0..50).map(|_| fader.draw(true, [3.0; 2]).truth).collect::<Vec<_>>()
            };
            assert_eq!(truths(Span::ZERO), truths(Span::from_millis(20)));
        }
    }
}
