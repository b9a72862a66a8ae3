//! The time within which a batch is to be completed.

use std::fmt;
use std::str::FromStr;

/// The longest window: 7 days.
const SECONDS_MAX: i64 = 7 * 24 * 3600;

/// A completion window as callers write it: a whole number of seconds, minutes or hours (`90s`, `15m`, `24h`), up to 7
/// days. The batch expires when it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletionWindow {
    text: String,
    seconds: i64,
}

impl CompletionWindow {
    /// Its length in seconds.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

impl fmt::Display for CompletionWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CompletionWindow {
    /// What a window must be.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const LIMIT: &str = "a window is a whole number followed by s, m or h, from 1s to 168h, such as 24h";
        let unit = |(unit, seconds)| Some((text.strip_suffix(unit)?, seconds));
        let (number, unit_s) = [('s', 1), ('m', 60), ('h', 3600)].into_iter().find_map(unit).ok_or(LIMIT)?;
        let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        let number: i64 = number.parse().ok().filter(|_| is_number).ok_or(LIMIT)?;
        let seconds = number.checked_mul(unit_s).filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
        Ok(Self { text: text.to_owned(), seconds: seconds.ok_or(LIMIT)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_unit_and_is_at_most_seven_days() {
        let seconds = |text: &str| text.parse().ok().map(|window: CompletionWindow| window.seconds());
        for (text, expected) in [("24h", 86_400), ("168h", 604_800), ("90s", 90), ("15m", 900), ("1s", 1)] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "h", "24", "0h", "-1h", "+1h", "169h", "1.5h", "24 h", "1d", "99999999999999999999h"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
