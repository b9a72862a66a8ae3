//! The output files common to all benchmarks.

use serde::Serialize;

/// Formats rows as CSV with a header.
pub(crate) fn csv_of<T: Serialize>(rows: &[T]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
