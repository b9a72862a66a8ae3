//! Tables of rows: one row per cell, or one per point over its seeds.

use std::collections::BTreeMap;

use super::file::Sweep;
use super::row::{Field, Row};
use crate::statistics::mean_95;

/// A table with named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The columns' names.
    pub names: Vec<String>,
    /// The rows, each with as many values as there are names.
    pub rows: Vec<Vec<Field>>,
    /// Number of leading columns that identify the row; the others are results.
    pub labels: usize,
}

impl Table {
    /// Builds a table with a row per cell: its number, its coordinates and its results.
    pub fn of_cells(sweep: &Sweep, rows: &[Row]) -> Self {
        let measures = measures(rows);
        let labels = std::iter::once("cell".to_owned()).chain(point_names(sweep)).chain(["seed".to_owned()]);
        let mut names: Vec<String> = labels.collect();
        let labels = names.len();
        names.extend(measures.keys_in_order.iter().cloned());
        let row = |(index, (row, point)): (usize, (&Row, Vec<Field>))| {
            let seed = sweep.cells()[index].scenario.seed;
            let mut fields = vec![Field::Count(index as i64)];
            fields.extend(point);
            fields.push(Field::Count(seed as i64));
            fields.extend(measures.of(row));
            fields
        };
        let rows = rows.iter().zip(points(sweep)).enumerate().map(row).collect();
        Self { names, rows, labels }
    }

    /// Builds a table with a row per point over its seeds: for each number the mean and half the width of its 95 %
    /// confidence interval by Student's t. A value that some seeds lack is averaged over the others.
    pub fn over_seeds(sweep: &Sweep, rows: &[Row]) -> Self {
        let measures = measures(rows);
        let mut names: Vec<String> = point_names(sweep).chain(["seeds".to_owned()]).collect();
        let labels = names.len();
        for name in &measures.keys_in_order {
            names.extend([name.clone(), format!("{name}.ci95")]);
        }
        // Seeds vary fastest, so those of a point are adjacent.
        let cells: Vec<(&Row, Vec<Field>)> = rows.iter().zip(points(sweep)).collect();
        let over = |group: &[(&Row, Vec<Field>)]| {
            let mut fields = group[0].1.clone();
            fields.push(Field::Count(group.len() as i64));
            let seeds: Vec<Vec<Field>> = group.iter().map(|(row, _)| measures.of(row)).collect();
            for measure in 0..measures.keys_in_order.len() {
                let numbers: Vec<f64> = seeds.iter().filter_map(|fields| fields[measure].number()).collect();
                let (mean, half) = mean_95(&numbers);
                fields.extend([mean, half].map(|number| number.map_or(Field::Missing, Field::Number)));
            }
            fields
        };
        let rows = cells.chunk_by(|one, other| one.1 == other.1).map(over).collect();
        Self { names, rows, labels }
    }

    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }
}

fn point_names(sweep: &Sweep) -> impl Iterator<Item = String> {
    let case = sweep.cells().iter().any(|cell| cell.case.is_some()).then(|| "case".to_owned());
    case.into_iter().chain(sweep.keys().iter().cloned()).chain(["policy".to_owned()])
}

/// The coordinates of each cell without its seed.
fn points(sweep: &Sweep) -> impl Iterator<Item = Vec<Field>> {
    let has_cases = sweep.cells().iter().any(|cell| cell.case.is_some());
    sweep.cells().iter().map(move |cell| {
        let case = has_cases.then(|| cell.case.clone().map_or(Field::Missing, Field::Text));
        let policy = Field::Text(cell.scenario.settings.policy.to_string());
        case.into_iter().chain(cell.values.iter().cloned()).chain([policy]).collect()
    })
}

/// The numeric columns: names that occur in any row.
struct Measures {
    keys_in_order: Vec<String>,
    /// The default of a value that a row lacks: missing, or 0 for counts.
    absent: Vec<Field>,
}

fn measures(rows: &[Row]) -> Measures {
    let mut kinds: BTreeMap<&str, Field> = BTreeMap::new();
    let mut keys_in_order: Vec<String> = Vec::new();
    for (name, field) in rows.iter().flat_map(|row| &row.0) {
        let absent = match field {
            // A report lists only the limits and reasons that occurred.
            Field::Count(_) => Field::Count(0),
            Field::Number(_) | Field::Missing => Field::Missing,
            Field::Text(_) => continue,
        };
        kinds.entry(name).or_insert_with(|| {
            keys_in_order.push(name.clone());
            absent
        });
    }
    let absent = keys_in_order.iter().map(|name| kinds[name.as_str()].clone()).collect();
    Measures { keys_in_order, absent }
}

impl Measures {
    fn of(&self, row: &Row) -> Vec<Field> {
        let columns = self.keys_in_order.iter().zip(&self.absent);
        columns.map(|(name, absent)| row.get(name).unwrap_or(absent).clone()).collect()
    }
}
