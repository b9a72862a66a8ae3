//! Time as integer nanoseconds, so that events have one total order.
//!
//! The core never reads a clock; its driver passes the time in. In the server an [`Instant`] counts from the start of
//! the process, in the simulator from the start of the scenario.

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};

use crate::model::units::Seconds;

/// A point in time: nanoseconds since the driver's start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
pub struct Instant(pub u64);

/// A length of time in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
pub struct Span(pub u64);

impl Instant {
    /// The driver's start.
    pub const START: Self = Self(0);

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since the driver's start.
    pub fn as_seconds(self) -> f64 {
        Span(self.0).as_seconds()
    }
}

impl Span {
    /// The empty span.
    pub const ZERO: Self = Self(0);
    /// Longer than any run.
    pub const MAX: Self = Self(u64::MAX);

    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// A span of whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// A span of `seconds`, rounded up to the next nanosecond; negative and NaN give zero.
    pub fn from_seconds(seconds: f64) -> Self {
        // `as` saturates and turns NaN into 0, as intended.
        Self((seconds * 1e9).ceil() as u64)
    }

    /// The span in seconds.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The span in milliseconds.
    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whole microseconds, rounded down.
    pub fn as_micros_floor(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole microseconds, rounded up.
    pub fn as_micros_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// The difference, or zero where it would be negative.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This span times a factor of at least 0.
    pub fn scaled(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }
}

impl From<Seconds> for Span {
    fn from(seconds: Seconds) -> Self {
        Self::from_seconds(seconds.get())
    }
}

impl Add<Span> for Instant {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Mul<u32> for Span {
    type Output = Self;
    fn mul(self, times: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(times)))
    }
}

impl std::iter::Sum for Span {
    fn sum<I: Iterator<Item = Self>>(spans: I) -> Self {
        spans.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_seconds();
        if seconds >= 10.0 {
            write!(f, "{seconds:.1} s")
        } else if seconds >= 1.0 {
            write!(f, "{seconds:.2} s")
        } else if seconds >= 1e-3 {
            write!(f, "{:.0} ms", seconds * 1e3)
        } else {
            write!(f, "{:.0} µs", seconds * 1e6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_seconds_up_to_the_next_nanosecond() {
        assert_eq!(Span::from_seconds(1e-10), Span(1));
        assert_eq!(Span::from_seconds(f64::NAN), Span::ZERO);
        assert_eq!(Span::from_seconds(-1.0), Span::ZERO);
    }

    #[test]
    fn is_displayed_in_a_readable_unit() {
        let shown = [Span::from_millis(84), Span::from_millis(1500), Span::from_micros(12)]
            .map(|span| span.to_string());
        assert_eq!(shown, ["84 ms", "1.50 s", "12 µs"]);
    }
}
