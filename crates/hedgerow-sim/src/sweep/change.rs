//! Changing a scenario's text by keys: `users.rate_per_s`, or `precision.W8A16.beta_decode` for the element of
//! that name.

use toml::{Table, Value};

/// Sets a key to a value, whether or not the key exists: the scenario's own check rejects invalid keys.
///
/// # Errors
///
/// Returns the part of the key that is neither a table nor an element's name.
pub(super) fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => set(inner, rest, value),
                Value::Array(elements) => set_in_element(elements, rest, value),
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_) => Err(first.to_owned()),
            }
        }
    }
}

fn set_in_element(elements: &mut [Value], key: &str, value: Value) -> Result<(), String> {
    let (name, rest) = key.split_once('.').ok_or_else(|| key.to_owned())?;
    let is_it = |element: &&mut Value| element.get("name").and_then(Value::as_str) == Some(name);
    match elements.iter_mut().find(is_it) {
        Some(Value::Table(element)) => set(element, rest, value),
        Some(_) | None => Err(name.to_owned()),
    }
}

/// Removes a key if it exists: a sweep may have several scenarios, of which not all have the key.
pub(super) fn unset(table: &mut Table, key: &str) {
    match key.split_once('.') {
        None => {
            table.remove(key);
        }
        Some((first, rest)) => {
            if let Some(inner) = table.get_mut(first).and_then(Value::as_table_mut) {
                unset(inner, rest);
            }
        }
    }
}

/// Flattens a table of changes to dotted keys: `[users]` with `rate_per_s` becomes `users.rate_per_s`.
pub(super) fn flat(table: Table) -> Vec<(String, Value)> {
    let mut changes = Vec::new();
    for (key, value) in table {
        if let Value::Table(inner) = value {
            changes.extend(flat(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
        } else {
            changes.push((key, value));
        }
    }
    changes
}
