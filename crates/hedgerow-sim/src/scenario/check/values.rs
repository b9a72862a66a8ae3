//! Checks of numbers against the ranges of their keys, and errors.

use hedgerow_core::time::Span;
use toml::{Table, Value};

use super::super::ScenarioError;
use super::super::error::Place;
use super::super::keys::Key;
use super::Checked;

/// Checks every number of a scenario against the range of its key, also unused ones, because a sweep may change another
/// key that makes them used.
pub(in crate::scenario) fn ranges(document: &Table) -> Checked<()> {
    table("", "", document)
}

fn table(section: &str, path: &str, document: &Table) -> Checked<()> {
    for (name, value) in document {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Table(inner) => table(if section.is_empty() { name } else { "lengths" }, &path, inner)?,
            Value::Array(elements) if section.is_empty() => {
                for element in elements.iter().filter_map(Value::as_table) {
                    let element_name = element.get("name").and_then(Value::as_str).unwrap_or_default();
                    table(name, &format!("{path}.{element_name}"), element)?;
                }
            }
            Value::Array(numbers) => both(section, name, &path, numbers)?,
            Value::Integer(number) => one(section, name, &path, *number as f64)?,
            Value::Float(number) => one(section, name, &path, *number)?,
            Value::String(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
    Ok(())
}

/// Checks a number against the range of a key.
pub(in crate::scenario) fn one(section: &str, name: &str, path: &str, number: f64) -> Checked<()> {
    match Key::find(section, name).and_then(Key::bounds) {
        Some(bounds) if !bounds.contains(number) => {
            Err(value(path, number, format!("a number {}", bounds.words(number))))
        }
        _ => Ok(()),
    }
}

/// Checks two numbers, of which the first must not be the larger one.
fn both(section: &str, name: &str, path: &str, numbers: &[Value]) -> Checked<()> {
    let float = |value: &Value| value.as_float().or(value.as_integer().map(|number| number as f64));
    let Some(bounds) = Key::find(section, name).and_then(Key::bounds) else { return Ok(()) };
    let [Some(least), Some(most)] = [0, 1].map(|index| numbers.get(index).and_then(float)) else {
        return Ok(());
    };
    if least <= most && bounds.contains(least) && bounds.contains(most) {
        return Ok(());
    }
    let words = bounds.words(least.max(most));
    Err(value(path, format!("[{least}, {most}]"), format!("two numbers {words}, the smaller one first")))
}

/// Converts checked milliseconds.
pub(super) fn millis(millis: f64) -> Span {
    Span::from_seconds(millis / 1e3)
}

pub(super) fn value(
    key: impl Into<String>,
    value: impl ToString,
    must_be: impl Into<String>,
) -> ScenarioError {
    ScenarioError::Value { key: key.into(), value: value.to_string(), must_be: must_be.into() }
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
