//! Means over windows of text, and their confidence intervals.
//!
//! Neighbouring tokens share their context, so they are not independent samples; windows nearly are. So an interval
//! is computed from the standard deviation of the windows' means and Student's t with one degree of freedom fewer
//! than there are windows. It is wider than one that treats each token as a sample.

use serde::{Deserialize, Serialize};

/// A figure and its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure as estimated from all windows.
    pub value: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Upper bound of the interval.
    pub high: f64,
}

impl Estimate {
    /// Estimates the mean from the windows' means.
    ///
    /// # Panics
    ///
    /// With fewer than two windows, whose standard deviation is unknown.
    pub(super) fn of_mean(windows: &[f64]) -> Self {
        let value = mean(windows);
        Self::around(value, half_width(windows))
    }

    pub(super) fn around(value: f64, half_width: f64) -> Self {
        Self { value, low: value - half_width, high: value + half_width }
    }

    /// Exponentiates the value and its interval: for logarithms of perplexities and of their ratios.
    pub(super) fn exp(self) -> Self {
        Self { value: self.value.exp(), low: self.low.exp(), high: self.high.exp() }
    }

    /// Clips the interval to the possible range.
    pub(super) fn within(self, least: f64, most: f64) -> Self {
        Self { low: self.low.max(least), high: self.high.min(most), ..self }
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns half the width of the 95 % confidence interval around the mean.
pub(super) fn half_width(values: &[f64]) -> f64 {
    let count = values.len();
    assert!(count >= 2, "{count} windows have no spread");
    let mean = mean(values);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
    student_t_975(count - 1) * (variance / count as f64).sqrt()
}

/// Returns the 97.5 % quantile of Student's t: the expansion in 1/ν around the normal quantile (Abramowitz and Stegun
/// 26.7.5), exact to 0.2 % from 4 degrees of freedom on, and a table below that.
fn student_t_975(degrees: usize) -> f64 {
    const FEW: [f64; 3] = [12.706_205, 4.302_653, 3.182_446];
    const Z: f64 = 1.959_963_985;
    if let Some(&exact) = degrees.checked_sub(1).and_then(|index| FEW.get(index)) {
        return exact;
    }
    let (nu, z2) = (degrees as f64, Z * Z);
    let g1 = (z2 + 1.0) * Z / 4.0;
    let g2 = ((5.0 * z2 + 16.0) * z2 + 3.0) * Z / 96.0;
    let g3 = (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) * Z / 384.0;
    let g4 = ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) * Z / 92160.0;
    Z + g1 / nu + g2 / nu.powi(2) + g3 / nu.powi(3) + g4 / nu.powi(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_agrees_with_published_tables() {
        let table = [(1, 12.706), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (120, 1.980)];
        for (degrees, expected) in table {
            let found = student_t_975(degrees);
            assert!((found / expected - 1.0).abs() < 2e-3, "{degrees}: {found}, not {expected}");
        }
    }

    #[test]
    fn an_interval_covers_the_mean_of_a_known_sample() {
        // Mean 3, standard deviation √2.5, t(4) = 2.776: half-width 2.776 · √(2.5/5) = 1.963.
        let found = Estimate::of_mean(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((found.value - 3.0).abs() < 1e-12 && (found.high - 4.963).abs() < 5e-3, "{found:?}");
        assert!((found.value - found.low - (found.high - found.value)).abs() < 1e-12);
        assert_eq!(Estimate::of_mean(&[0.5, 0.5]), Estimate { value: 0.5, low: 0.5, high: 0.5 });
    }
}
