//! Checks of numbers, and their errors.

use hedgerow_core::time::Span;

use super::super::error::Place;
use super::super::{Range, ScenarioError};
use super::Checked;

/// Bounds of valid numbers: beyond them, products of two could exceed the range of a float or of a nanosecond count.
const LEAST: f64 = 1e-15;
const MOST: f64 = 1e15;

/// Largest slot, epoch or delay: a day in milliseconds.
const MILLIS_MAX: f64 = 86_400_000.0;
/// Largest time: about thirty years in seconds; a nanosecond count can hold several times that.
const SECONDS_MAX: f64 = 1e9;
/// Valid mean arrival rates per second.
const RATES_PER_S: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
/// Largest absolute value in decibels, above that of any real power or loss.
const DECIBELS_MAX: f64 = 400.0;

pub(super) fn millis(key: impl Into<String>, millis: f64) -> Checked<Span> {
    let key = key.into();
    let millis = positive(key.clone(), millis)?;
    Ok(Span::from_seconds(within(key, millis, 0.0..=MILLIS_MAX, "at most 86400000, which is a day")? / 1e3))
}

/// Checks a duration above 0.
pub(super) fn seconds(key: impl Into<String>, seconds: f64) -> Checked<f64> {
    let key = key.into();
    let seconds = positive(key.clone(), seconds)?;
    within(key, seconds, 1e-9..=SECONDS_MAX, "a number from 1e-9 to 1e9")
}

/// Checks a time or a duration that may be 0.
pub(super) fn seconds_or_0(key: impl Into<String>, seconds: f64) -> Checked<f64> {
    let key = key.into();
    let seconds = not_negative(key.clone(), seconds)?;
    within(key, seconds, 0.0..=SECONDS_MAX, "at most 1e9")
}

pub(in crate::scenario) fn rate(key: impl Into<String>, per_s: f64) -> Checked<f64> {
    let key = key.into();
    let per_s = positive(key.clone(), per_s)?;
    within(key, per_s, RATES_PER_S, "a number from 1e-6 to 1e6")
}

/// Checks a power or a ratio in decibels.
pub(super) fn decibels(key: impl Into<String>, decibels: f64) -> Checked<f64> {
    within(key, decibels, -DECIBELS_MAX..=DECIBELS_MAX, "a number from -400 to 400")
}

/// Checks a standard deviation or a loss in decibels.
pub(super) fn decibels_or_0(key: impl Into<String>, decibels: f64) -> Checked<f64> {
    let key = key.into();
    let decibels = not_negative(key.clone(), decibels)?;
    within(key, decibels, 0.0..=DECIBELS_MAX, "at most 400")
}

pub(super) fn positive(key: impl Into<String>, number: f64) -> Checked<f64> {
    if (LEAST..=MOST).contains(&number) {
        return Ok(number);
    }
    let is_nearly = number > 0.0;
    Err(value(key, number, if is_nearly { "a number from 1e-15 to 1e15" } else { "a number above 0" }))
}

pub(super) fn not_negative(key: impl Into<String>, number: f64) -> Checked<f64> {
    if (0.0..=MOST).contains(&number) {
        return Ok(number);
    }
    Err(value(key, number, if number > MOST { "at most 1e15" } else { "a number of at least 0" }))
}

pub(super) fn within(
    key: impl Into<String>,
    number: f64,
    range: std::ops::RangeInclusive<f64>,
    must_be: &'static str,
) -> Checked<f64> {
    if range.contains(&number) { Ok(number) } else { Err(value(key, number, must_be)) }
}

pub(super) fn at_least_one(key: impl Into<String>, number: u32) -> Checked<u32> {
    if number > 0 { Ok(number) } else { Err(value(key, number, "at least 1")) }
}

/// Checks a range: two numbers of at least 0, the second at least the first and at most a limit.
pub(super) fn range(key: impl Into<String>, [least, most]: [f64; 2], limit: Limit) -> Checked<Range> {
    if least >= 0.0 && least <= most && most <= limit.most() {
        return Ok(Range { least, most });
    }
    let is_too_large = least.max(most) > limit.most();
    let must_be = match limit {
        Limit::One => "two numbers from 0 to 1, the smaller one first",
        Limit::Seconds if is_too_large => "two numbers of at most 1e9, the smaller one first",
        Limit::Bytes if is_too_large => "two numbers of at most 1e15, the smaller one first",
        Limit::Seconds | Limit::Bytes => "two numbers of at least 0, the smaller one first",
    };
    Err(value(key, format!("[{least}, {most}]"), must_be))
}

/// The upper limit of a [`range`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// A fraction.
    One,
    /// A time in seconds.
    Seconds,
    /// A size in bytes.
    Bytes,
}

impl Limit {
    fn most(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Seconds => SECONDS_MAX,
            Self::Bytes => MOST,
        }
    }
}

pub(super) fn value(key: impl Into<String>, value: impl ToString, must_be: &'static str) -> ScenarioError {
    ScenarioError::Value { key: key.into(), value: value.to_string(), must_be }
}

pub(super) fn missing(key: impl Into<String>, because: &'static str) -> ScenarioError {
    ScenarioError::Missing { key: key.into(), because }
}

pub(super) fn unknown(
    what: &'static str,
    name: &str,
    key: &'static str,
    known: impl Iterator<Item = String>,
) -> ScenarioError {
    ScenarioError::Unknown { what, name: name.to_owned(), place: Place::Key(key), known: known.collect() }
}

pub(super) fn unused(key: impl Into<String>, because: &'static str) -> ScenarioError {
    ScenarioError::Unused { key: key.into(), because }
}
