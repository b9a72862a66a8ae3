//! The confidence interval of a mean.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// The mean of some numbers and half the width of its 95 % confidence interval by Student's t, which needs at least two
/// numbers.
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
    (Some(mean), Some(t_95(count - 1.0) * error))
}

/// The two-sided 95 % quantile of Student's t.
fn t_95(degrees: f64) -> f64 {
    let student = StudentsT::new(0.0, 1.0, degrees).expect("there is at least one degree of freedom");
    student.inverse_cdf(0.975)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seeds_have_the_textbook_interval() {
        // Mean 3, standard deviation √2.5, 2.7764·√(2.5/5).
        let (mean, half) = mean_95(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mean, Some(3.0));
        assert!((half.unwrap() - 1.963_243).abs() < 1e-6, "{half:?}");
    }

    #[test]
    fn one_number_has_a_mean_and_no_interval() {
        assert_eq!(mean_95(&[7.0]), (Some(7.0), None));
        assert_eq!(mean_95(&[]), (None, None));
    }

    #[test]
    fn the_quantiles_are_those_of_the_distribution() {
        // Bisection of the distribution function's closed form (Abramowitz and Stegun 26.7.3 and 26.7.4).
        let table = [
            (1.0, 12.706_204_736_175),
            (2.0, 4.302_652_729_749),
            (3.0, 3.182_446_305_284),
            (4.0, 2.776_445_105_198),
            (9.0, 2.262_157_162_798),
            (30.0, 2.042_272_456_301),
            (100.0, 1.983_971_518_524),
            (1000.0, 1.962_339_080_826),
        ];
        for (degrees, expected) in table {
            let found = t_95(degrees);
            assert!((found - expected).abs() < 1e-9, "{degrees}: {found}, not {expected}");
        }
    }
}
