//! Shadowing: loss by obstacles, a function of the user's position.

use std::f64::consts::TAU;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::path_loss::PathLoss;

/// Number of plane waves of a field, so many that a value is nearly Gaussian (its kurtosis is 3 − 1.5/128).
const WAVES: usize = 128;

/// Standard deviation and correlation distance of shadowing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shadowing {
    /// Standard deviation in decibels.
    pub sigma_db: f64,
    /// Distance in metres over which the correlation falls to 1/e.
    pub correlation_m: f64,
}

impl Shadowing {
    /// Shadowing of users with and without line of sight (TR 38.901, tables 7.4.1-1 and 7.5-6).
    pub(crate) fn of(path_loss: PathLoss) -> [Self; 2] {
        let both = |sigmas_db: [f64; 2], correlations_m: [f64; 2]| {
            [0, 1].map(|index| Self { sigma_db: sigmas_db[index], correlation_m: correlations_m[index] })
        };
        match path_loss {
            PathLoss::Macro => both([0.0, 0.0], [50.0, 50.0]),
            PathLoss::Umi => both([4.0, 7.82], [10.0, 13.0]),
            PathLoss::Uma => both([4.0, 6.0], [37.0, 50.0]),
            PathLoss::Inh => both([3.0, 8.03], [10.0, 6.0]),
        }
    }
}

/// A Gaussian random field in the plane with mean 0, variance 1 and exponential correlation.
///
/// ```text
/// E[F(x)·F(y)] = e^(−|x − y|/d)                    Gudmundson 1991; TR 38.901, equation 7.4-5
/// ```
///
/// It is a sum of plane waves with random directions, lengths and phases (spectral method): wave numbers have the
/// spectrum of that correlation in the plane, whose distribution function is `1 − 1/√(1 + k²d²)`. Along any
/// straight path the values follow Gudmundson's autoregression.
#[derive(Clone, Debug)]
pub(super) struct Field {
    waves: Vec<Wave>,
}

#[derive(Clone, Copy, Debug)]
struct Wave {
    x_per_m: f64,
    y_per_m: f64,
    phase: f64,
}

impl Field {
    pub(super) fn new(correlation_m: f64, draws: &mut ChaCha8Rng) -> Self {
        let mut wave = || {
            let left: f64 = 1.0 - draws.random::<f64>();
            let per_m = (left.powi(-2) - 1.0).sqrt() / correlation_m;
            let direction = TAU * draws.random::<f64>();
            Wave {
                x_per_m: per_m * direction.cos(),
                y_per_m: per_m * direction.sin(),
                phase: TAU * draws.random::<f64>(),
            }
        };
        Self { waves: (0..WAVES).map(|_| wave()).collect() }
    }

    /// The field's value at a position in metres from the node.
    pub(super) fn at(&self, [x_m, y_m]: [f64; 2]) -> f64 {
        let value = |wave: &Wave| (wave.x_per_m * x_m + wave.y_per_m * y_m + wave.phase).cos();
        (2.0 / WAVES as f64).sqrt() * self.waves.iter().map(value).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    /// Mean over many fields of the product of the values at two positions.
    fn correlation(apart_m: f64) -> f64 {
        let mut draws = ChaCha8Rng::seed_from_u64(5);
        let product = |_| {
            let field = Field::new(13.0, &mut draws);
            field.at([40.0, -7.0]) * field.at([40.0 + apart_m * 0.6, -7.0 + apart_m * 0.8])
        };
        (0..6_000).map(product).sum::<f64>() / 6_000.0
    }

    #[test]
    fn shadows_correlate_over_13_m_and_not_over_100() {
        // Four standard deviations of a mean of 6,000 products are less than 0.075.
        for (apart_m, expected) in [(0.0, 1.0), (4.0, 0.735), (13.0, 0.368), (26.0, 0.135), (100.0, 0.0005)] {
            let measured = correlation(apart_m);
            assert!((measured - expected).abs() < 0.075, "{apart_m} m: {measured} is not {expected}");
        }
    }

    #[test]
    fn shadows_are_gaussian() {
        let mut draws = ChaCha8Rng::seed_from_u64(6);
        let values: Vec<f64> = (0..8_000).map(|_| Field::new(10.0, &mut draws).at([0.0, 0.0])).collect();
        let below = |limit: f64| values.iter().filter(|&&value| value < limit).count() as f64 / 8_000.0;
        for (limit, expected) in [(-1.0, 0.158_7), (0.0, 0.5), (1.0, 0.841_3), (2.0, 0.977_2)] {
            assert!((below(limit) - expected).abs() < 0.02, "P(F < {limit}) = {}", below(limit));
        }
    }
}
