//! The ranges of numbers on the command line, chosen so that no product of two of them overflows.

use std::ops::RangeInclusive;

/// Mean request rates, in requests per second; the maximum is more than one thread can send.
pub const RATES_PER_S: RangeInclusive<f64> = 1e-6..=10_000.0;
/// Factors that scale a time or a length.
pub const FACTORS: RangeInclusive<f64> = 1e-3..=1e3;
/// Fractions of a whole.
pub const PARTS: RangeInclusive<f64> = 1e-6..=1.0;

/// Returns a parser of numbers in a range, for `value_parser`; `nan` is in no range.
pub fn number(
    range: RangeInclusive<f64>,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_in_its_range_is_taken_and_the_range_is_named() {
        let rate = number(RATES_PER_S);
        assert_eq!(["1", "2.5", "1e4", "1e-6"].map(|text| rate(text).ok()), [1.0, 2.5, 1e4, 1e-6].map(Some));
        for wrong in ["0", "-1", "nan", "inf", "1e308", "1e-300", "", "one"] {
            assert_eq!(rate(wrong).unwrap_err(), "must be a number from 0.000001 to 10000", "{wrong}");
        }
    }
}
