//! Distributions of prompt and answer lengths.

use hedgerow_core::units::Tokens;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::normal::normal_cdf;

/// A distribution of token counts; a drawn length is at least 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Lengths {
    /// Each of these lengths with equal probability; never empty.
    OneOf(Vec<Tokens>),
    /// Uniform over the whole numbers from `least` to `most`.
    Uniform {
        /// The smallest length.
        least: Tokens,
        /// The largest length; at least `least`.
        most: Tokens,
    },
    /// Log-normal, which approximates measured prompt and answer lengths.
    LogNormal {
        /// The median length in tokens.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// The largest length; larger draws are clamped to it.
        most: Tokens,
    },
}

impl Lengths {
    /// Whether a length can be drawn.
    pub fn contains(&self, length: &Tokens) -> bool {
        match self {
            Self::OneOf(choices) => choices.contains(length),
            Self::Uniform { least, most } => (least..=most).contains(&length),
            Self::LogNormal { most, .. } => (Tokens(1)..=*most).contains(length),
        }
    }

    /// The largest length that can be drawn.
    pub fn longest(&self) -> Tokens {
        match self {
            Self::OneOf(choices) => choices.iter().copied().max().unwrap_or_default(),
            Self::Uniform { most, .. } | Self::LogNormal { most, .. } => *most,
        }
    }

    /// Draws one length.
    pub fn draw(&self, draws: &mut ChaCha8Rng) -> Tokens {
        match self {
            Self::OneOf(choices) => choices[draws.random_range(0..choices.len())],
            Self::Uniform { least, most } => Tokens(draws.random_range(least.0..=most.0)),
            Self::LogNormal { .. } => self.at_normal(StandardNormal.sample(draws)),
        }
    }

    /// Maps a standard normal number to the length at the same quantile (inverse transform).
    fn at_normal(&self, normal: f64) -> Tokens {
        // Φ may round to 1, so the index is clamped.
        let nth = |count: usize| ((normal_cdf(normal) * count as f64) as usize).min(count - 1);
        match self {
            Self::OneOf(choices) => {
                let mut sorted = choices.clone();
                sorted.sort_unstable();
                sorted[nth(sorted.len())]
            }
            Self::Uniform { least, most } => Tokens(least.0 + nth((most.0 - least.0) as usize + 1) as u32),
            Self::LogNormal { median, sigma, most } => {
                let length = (median * (sigma * normal).exp()).round();
                Tokens((length as u32).clamp(1, most.0))
            }
        }
    }
}

/// Draws correlated lengths of a prompt and its answer through a Gaussian copula.
pub fn correlated(
    [prompts, outputs]: [&Lengths; 2],
    correlation: f64,
    [first, second]: [&mut ChaCha8Rng; 2],
) -> (Tokens, Tokens) {
    let prompt: f64 = StandardNormal.sample(first);
    let own: f64 = StandardNormal.sample(second);
    let output = correlation * prompt + (1.0 - correlation * correlation).sqrt() * own;
    (prompts.at_normal(prompt), outputs.at_normal(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    const COUNT: usize = 40_000;

    fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
        let mean = values.clone().sum::<f64>() / COUNT as f64;
        (mean, values.map(|value| (value - mean).powi(2)).sum::<f64>() / COUNT as f64)
    }

    fn drawn(lengths: &Lengths) -> Vec<f64> {
        let mut draws = ChaCha8Rng::seed_from_u64(1);
        (0..COUNT).map(|_| f64::from(lengths.draw(&mut draws).0)).collect()
    }

    fn log_normal(median: f64) -> Lengths {
        Lengths::LogNormal { median, sigma: 0.8, most: Tokens(1_000_000) }
    }

    #[test]
    fn log_normal_lengths_have_their_median_and_spread() {
        let lengths = drawn(&log_normal(500.0));
        let (mean, variance) = moments(lengths.iter().map(|length| length.ln()));
        assert!((mean - 500_f64.ln()).abs() < 0.02 && (variance.sqrt() - 0.8).abs() < 0.02);
        let cut = drawn(&Lengths::LogNormal { median: 500.0, sigma: 0.8, most: Tokens(600) });
        assert_eq!(cut.iter().copied().fold(0.0, f64::max), 600.0);
    }

    #[test]
    fn uniform_lengths_have_their_mean_and_variance() {
        let lengths = drawn(&Lengths::Uniform { least: Tokens(10), most: Tokens(20) });
        let (mean, variance) = moments(lengths.iter().copied());
        // (n² − 1)/12 for n = 11.
        assert!((mean - 15.0).abs() < 0.1 && (variance - 10.0).abs() < 0.2, "{mean}, {variance}");
    }

    #[test]
    fn prompt_and_answer_lengths_have_the_configured_correlation() {
        for correlation in [-0.5, 0.0, 0.7, 1.0] {
            let (prompts, outputs) = (log_normal(500.0), log_normal(100.0));
            let (mut first, mut second) = (ChaCha8Rng::seed_from_u64(1), ChaCha8Rng::seed_from_u64(2));
            let pair = |_| correlated([&prompts, &outputs], correlation, [&mut first, &mut second]);
            let logs: Vec<(f64, f64)> = (0..COUNT)
                .map(pair)
                .map(|(prompt, output)| (f64::from(prompt.0).ln(), f64::from(output.0).ln()))
                .collect();
            let (mean_x, variance_x) = moments(logs.iter().map(|pair| pair.0));
            let (mean_y, variance_y) = moments(logs.iter().map(|pair| pair.1));
            let product = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / COUNT as f64;
            let measured = product / (variance_x * variance_y).sqrt();
            assert!((measured - correlation).abs() < 0.02, "{measured} is not {correlation}");
        }
    }

    #[test]
    fn correlated_choices_keep_uniform_marginals() {
        let choices = Lengths::OneOf(vec![Tokens(512), Tokens(128), Tokens(256)]);
        let (mut first, mut second) = (ChaCha8Rng::seed_from_u64(1), ChaCha8Rng::seed_from_u64(2));
        let mut pair = || correlated([&choices, &choices], 0.9, [&mut first, &mut second]);
        let pairs: Vec<_> = (0..9_000).map(|_| pair()).collect();
        for length in [128, 256, 512].map(Tokens) {
            let count = pairs.iter().filter(|pair| pair.1 == length).count();
            assert!((2_800..3_200).contains(&count), "{length}: {count} of 9,000");
        }
        let alike = pairs.iter().filter(|(prompt, output)| prompt == output).count();
        assert!(alike > 6_000, "{alike} of 9,000 are equal");
    }
}
