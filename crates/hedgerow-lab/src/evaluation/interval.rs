//! Means over windows of text, and their confidence intervals.
//!
//! Neighbouring tokens share their context, so they are not independent samples; windows nearly are. So an interval
//! is computed from the standard deviation of the windows' means and Student's t with one degree of freedom fewer
//! than there are windows. It is wider than one that treats each token as a sample.

use hedgerow_node::quality::Estimate;
use hedgerow_sim::mean_95;

/// Estimates the mean from the windows' means.
///
/// # Panics
///
/// With fewer than two windows, whose standard deviation is unknown.
pub(super) fn mean_of(windows: &[f64]) -> Estimate {
    around(mean(windows), half_width(windows))
}

pub(super) fn around(value: f64, half_width: f64) -> Estimate {
    Estimate { value, low: value - half_width, high: value + half_width }
}

/// Exponentiates the value and its interval: for logarithms of perplexities and of their ratios.
pub(super) fn exp(of: Estimate) -> Estimate {
    Estimate { value: of.value.exp(), low: of.low.exp(), high: of.high.exp() }
}

/// Clips the interval to the possible range.
pub(super) fn within(estimate: Estimate, least: f64, most: f64) -> Estimate {
    Estimate { low: estimate.low.max(least), high: estimate.high.min(most), ..estimate }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns half the width of the 95 % confidence interval around the mean.
pub(super) fn half_width(values: &[f64]) -> f64 {
    let (_, half_width) = mean_95(values);
    half_width.unwrap_or_else(|| panic!("{} windows have no spread", values.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_covers_the_mean_of_a_known_sample() {
        // Mean 3, standard deviation √2.5, t(4) = 2.776445: half-width 2.776445 · √(2.5/5) = 1.963243.
        let found = mean_of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((found.value - 3.0).abs() < 1e-12 && (found.high - 4.963_243).abs() < 1e-6, "{found:?}");
        assert!((found.value - found.low - (found.high - found.value)).abs() < 1e-12);
        assert_eq!(mean_of(&[0.5, 0.5]), Estimate { value: 0.5, low: 0.5, high: 0.5 });
    }
}
