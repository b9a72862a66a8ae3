//! Numbers that make sense, and errors about those that do not.

use hedgerow_core::time::Span;

use super::super::error::Place;
use super::super::{Range, ScenarioError};
use super::Checked;

pub(super) fn millis(key: impl Into<String>, millis: f64) -> Checked<Span> {
    Ok(Span::from_seconds(positive(key, millis)? / 1e3))
}

pub(in crate::scenario) fn positive(key: impl Into<String>, number: f64) -> Checked<f64> {
    if number > 0.0 && number.is_finite() {
        return Ok(number);
    }
    Err(value(key, number, "a number above 0"))
}

pub(super) fn not_negative(key: impl Into<String>, number: f64) -> Checked<f64> {
    if number >= 0.0 && number.is_finite() {
        return Ok(number);
    }
    Err(value(key, number, "a number of at least 0"))
}

pub(super) fn within(
    key: impl Into<String>,
    number: f64,
    range: std::ops::RangeInclusive<f64>,
    must_be: &'static str,
) -> Checked<f64> {
    if range.contains(&number) { Ok(number) } else { Err(value(key, number, must_be)) }
}

pub(super) fn finite(key: impl Into<String>, number: f64) -> Checked<f64> {
    if number.is_finite() { Ok(number) } else { Err(value(key, number, "a finite number")) }
}

pub(super) fn at_least_one(key: impl Into<String>, number: u32) -> Checked<u32> {
    if number > 0 { Ok(number) } else { Err(value(key, number, "at least 1")) }
}

pub(super) fn range(key: impl Into<String>, [least, most]: [f64; 2], limit: Option<f64>) -> Checked<Range> {
    let is_within = least >= 0.0 && least <= most && most <= limit.unwrap_or(f64::MAX);
    if is_within {
        return Ok(Range { least, most });
    }
    let must_be = match limit {
        None => "two numbers of at least 0, the smaller one first",
        Some(_) => "two numbers from 0 to 1, the smaller one first",
    };
    Err(value(key, format!("[{least}, {most}]"), must_be))
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
