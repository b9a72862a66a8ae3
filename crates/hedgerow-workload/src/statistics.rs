//! Statistics: confidence intervals of a mean by Student's t, and the normal distribution.

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom (any statistics table).
const T_95: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
    2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555,
    2.0518, 2.0484, 2.0452, 2.0423,
];

/// The same quantile of the normal distribution, the limit of Student's t.
const Z_95: f64 = 1.959_964;

/// The mean of some numbers and half the width of its 95 % confidence interval, which needs at least two numbers.
pub fn mean_95(numbers: &[f64]) -> (Option<f64>, Option<f64>) {
    let count = numbers.len() as f64;
    if numbers.is_empty() {
        return (None, None);
    }
    let mean = numbers.iter().sum::<f64>() / count;
    if numbers.len() < 2 {
        return (Some(mean), None);
    }
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    (Some(mean), Some(t_95(numbers.len() - 1) * error))
}

fn t_95(degrees: usize) -> f64 {
    match T_95.get(degrees - 1) {
        Some(t) => *t,
        // The first terms of the expansion in 1/degrees (Abramowitz and Stegun 26.7.5).
        None => {
            let (z, n) = (Z_95, degrees as f64);
            z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
        }
    }
}

/// The standard normal distribution function Φ(z).
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seeds_have_the_textbook_interval() {
        // Mean 3, standard deviation √2.5, 2.7764·√(2.5/5).
        let (mean, half) = mean_95(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mean, Some(3.0));
        assert!((half.unwrap() - 1.963_21).abs() < 1e-4, "{half:?}");
    }

    #[test]
    fn one_number_has_a_mean_and_no_interval() {
        assert_eq!(mean_95(&[7.0]), (Some(7.0), None));
        assert_eq!(mean_95(&[]), (None, None));
    }

    #[test]
    fn the_expansion_continues_the_table() {
        assert!((t_95(31) - 2.0395).abs() < 1e-4, "{}", t_95(31));
        assert!((t_95(1000) - 1.9623).abs() < 1e-4, "{}", t_95(1000));
    }
}
