//! Units as types: a value that crosses a function, struct or file boundary has the type of its unit.
//!
//! Inside one formula, plain `f64` with a unit suffix is used. All units are SI base units; MHz, dBm and ms occur
//! only in configuration keys and on screen.

use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

/// A number outside the range of a quantity.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq)]
#[error("{value} is not {must_be}")]
pub struct OutOfRange {
    /// The number.
    pub value: f64,
    /// What it must be.
    pub must_be: &'static str,
}

macro_rules! quantity {
    ($name:ident, $unit:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
        #[derive(serde::Deserialize, serde::Serialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Wraps a number of ", $unit, ".\n\n# Panics\n\nIf it is negative or not a number.")]
            pub const fn new(value: f64) -> Self {
                assert!(value >= 0.0, concat!(stringify!($name), " must be a number of at least 0"));
                Self(value)
            }

            #[doc = concat!("The number of ", $unit, ".")]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                let must_be = "a number of at least 0";
                if value >= 0.0 { Ok(Self(value)) } else { Err(OutOfRange { value, must_be }) }
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self::new(self.0 * factor)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)?;
                f.write_str(concat!(" ", $unit))
            }
        }
    };
}

/// Defines the quantity of a quotient: the only conversion from one unit to another.
macro_rules! ratio {
    ($top:ident / $bottom:ident = $result:ident) => {
        impl Div<$bottom> for $top {
            type Output = $result;
            fn div(self, by: $bottom) -> $result {
                $result::new(self.0 / by.0)
            }
        }
    };
}

quantity!(Hertz, "Hz", "Bandwidth or carrier frequency.");
quantity!(Watts, "W", "Power, sent or received.");
quantity!(Seconds, "s", "A span of time; never negative.");
quantity!(Bits, "bit", "Information on the air or a wire.");
quantity!(BitsPerSecond, "bit/s", "A data rate on the air or a wire.");
quantity!(Flop, "FLOP", "An amount of arithmetic.");
quantity!(FlopPerSecond, "FLOP/s", "A speed of arithmetic.");
quantity!(BytesPerSecond, "B/s", "Memory bandwidth.");

ratio!(Bits / BitsPerSecond = Seconds);
ratio!(Flop / FlopPerSecond = Seconds);

macro_rules! count {
    ($name:ident, $inner:ty, $unit:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            serde::Deserialize,
            serde::Serialize,
        )]
        pub struct $name(pub $inner);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// The difference, or zero where it would be negative.
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                Self(values.map(|value| value.0).sum())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", self.0, $unit)
            }
        }
    };
}

count!(Tokens, u32, "tokens", "A number of tokens.");
count!(Bytes, u64, "bytes", "An amount of memory.");

impl Tokens {
    /// The memory of these tokens at `per_token` each.
    pub fn bytes(self, per_token: Bytes) -> Bytes {
        Bytes(u64::from(self.0) * per_token.0)
    }
}

macro_rules! fraction {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
        )]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Zero.
            pub const NONE: Self = Self(0.0);
            /// One.
            pub const FULL: Self = Self(1.0);

            /// Wraps a fraction; `None` unless it lies in 0..=1.
            pub fn new(value: f64) -> Option<Self> {
                (0.0..=1.0).contains(&value).then_some(Self(value))
            }

            /// The fraction as a number in 0..=1.
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                Self::new(value).ok_or(OutOfRange { value, must_be: "in 0..=1" })
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

fraction!(Quality, "How good an answer is, or must be: 1 is the reference precision's own (`model.md §1`).");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_over_rate_are_seconds() {
        assert_eq!(Bits::new(3e6) / BitsPerSecond::new(1e6), Seconds::new(3.0));
    }

    #[test]
    fn a_fraction_outside_0_to_1_is_refused() {
        assert_eq!(Quality::new(1.01), None);
        assert_eq!(Quality::new(-0.1), None);
        assert_eq!(Quality::new(f64::NAN), None);
        assert_eq!(Quality::new(1.0), Some(Quality::FULL));
    }
}
