//! Turns a sweep's rows into curves.

use hedgerow_sim::mean_95;
use hedgerow_sim::sweep::{Field, Table};

use super::{End, Lines, Measure, Part};

/// The limits that can exclude a request from a plan; `none` if no request was excluded.
const LIMITS: [&str; 6] = ["deadline", "compute", "memory", "uplink", "downlink", "none"];

/// One panel.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) curves: Vec<Curve>,
}

/// One line of a panel.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// The mean over the seeds at one point, and half the width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) half: Option<f64>,
}

impl Curve {
    /// Returns the value at `x`, if the curve has that point.
    pub(super) fn at(&self, x: f64) -> Option<f64> {
        self.points.iter().find(|point| point.x == x).map(|point| point.y)
    }
}

/// Returns the panels of a part, in the order of their values in the sweep.
pub(super) fn panels(part: &Part, cells: &Table) -> Vec<Panel> {
    let titles =
        part.panel.map_or(vec![None], |column| values(cells, column).into_iter().map(Some).collect());
    titles
        .into_iter()
        .map(|title| {
            let own = |row: &&Vec<Field>| match (&title, part.panel) {
                (Some(title), Some(column)) => text(cells, row, column) == *title,
                (_, _) => true,
            };
            let rows: Vec<&Vec<Field>> = cells.rows.iter().filter(own).collect();
            let title = title.unwrap_or_else(|| part.label.to_owned());
            Panel { title, curves: curves(part, cells, &rows) }
        })
        .collect()
}

fn curves(part: &Part, cells: &Table, rows: &[&Vec<Field>]) -> Vec<Curve> {
    let curve = |name: String, measure: Measure, rows: &[&Vec<Field>], limit: &str| {
        let points = points(part, cells, rows, |row| value(cells, row, measure, limit));
        Curve { name, points }
    };
    match (&part.lines, part.y) {
        (Lines::Limits, measure) => {
            let all = LIMITS.iter().map(|limit| curve((*limit).to_owned(), measure, rows, limit));
            // A limit that never binds would only be a line at zero.
            all.filter(|curve| curve.points.iter().any(|point| point.y > 0.0)).collect()
        }
        (Lines::By(column), measure) => {
            let of = |name: &String, measure| {
                let own = |row: &&&Vec<Field>| text(cells, row, column) == *name;
                let own: Vec<&Vec<Field>> = rows.iter().filter(own).copied().collect();
                curve(name.clone(), measure, &own, "")
            };
            let names = values(cells, column);
            match measure {
                Measure::PercentBelow { column, line } => {
                    let counted = Measure::PerPlan(column);
                    let other = of(&line.to_owned(), counted);
                    let others = names.iter().filter(|name| *name != line);
                    others.map(|name| below(of(name, counted), &other)).collect()
                }
                Measure::Column(_) | Measure::Percent(_) | Measure::PerPlan(_) | Measure::Binding => {
                    names.iter().map(|name| of(name, measure)).collect()
                }
            }
        }
    }
}

/// Returns by how many percent a curve lies below another.
fn below(curve: Curve, other: &Curve) -> Curve {
    let point = |point: &Point| {
        let all = other.at(point.x).filter(|&all| all > 0.0)?;
        Some(Point { x: point.x, y: 100.0 * (1.0 - point.y / all), half: None })
    };
    Curve { points: curve.points.iter().filter_map(point).collect(), name: curve.name }
}

/// Returns the mean at each point, from left to right.
fn points(
    part: &Part,
    cells: &Table,
    rows: &[&Vec<Field>],
    value: impl Fn(&Vec<Field>) -> Option<f64>,
) -> Vec<Point> {
    let mut samples: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|row| Some((place(field(cells, row, part.x.column)?, part.x.end)?, value(row)?)))
        .collect();
    samples.sort_by(|one, other| one.0.total_cmp(&other.0));
    samples
        .chunk_by(|one, other| one.0 == other.0)
        .filter_map(|group| {
            let ys: Vec<f64> = group.iter().map(|(_, y)| *y).collect();
            let (mean, half) = mean_95(&ys);
            Some(Point { x: group[0].0, y: mean?, half })
        })
        .collect()
}

fn value(cells: &Table, row: &[Field], measure: Measure, limit: &str) -> Option<f64> {
    let number = |name: &str| field(cells, row, name).and_then(Field::number);
    let per_plan = |name: &str| {
        number("plans").filter(|&plans| plans > 0.0).map(|plans| number(name).unwrap_or(0.0) / plans)
    };
    match measure {
        Measure::Column(name) => number(name),
        Measure::Percent(name) => number(name).map(|part| 100.0 * part),
        Measure::PerPlan(name) | Measure::PercentBelow { column: name, .. } => per_plan(name),
        Measure::Binding => per_plan(&format!("binding.{limit}")).map(|part| 100.0 * part),
    }
}

/// Returns a value's coordinate on an axis: a number, or an end of a range such as `[0.5, 2.0]`.
fn place(field: &Field, end: End) -> Option<f64> {
    match field {
        Field::Text(text) => {
            let words = text.split(|sign: char| !(sign.is_ascii_digit() || sign == '.'));
            let mut numbers = words.filter_map(|word| word.parse().ok());
            match end {
                End::Lower => numbers.next(),
                End::Upper => numbers.next_back(),
            }
        }
        Field::Missing | Field::Count(_) | Field::Number(_) => field.number(),
    }
}

fn field<'a>(cells: &Table, row: &'a [Field], name: &str) -> Option<&'a Field> {
    cells.column(name).map(|column| &row[column])
}

/// Formats a value as a label: `none` without its number of accelerators, since nodes differ in that, and lists
/// without brackets.
fn text(cells: &Table, row: &[Field], name: &str) -> String {
    let text = field(cells, row, name).map(Field::to_string).unwrap_or_default();
    if text.starts_with("none:") {
        return "none".to_owned();
    }
    text.trim_start_matches("[\"").trim_end_matches("\"]").to_owned()
}

/// Returns the distinct values of a column, in the order of the sweep.
fn values(cells: &Table, column: &str) -> Vec<String> {
    let mut values = Vec::new();
    for row in &cells.rows {
        let value = text(cells, row, column);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinate_of_a_range_is_one_of_its_ends() {
        let range = Field::Text("[0.5, 2.0]".into());
        assert_eq!((place(&range, End::Lower), place(&range, End::Upper)), (Some(0.5), Some(2.0)));
        assert_eq!(place(&Field::Count(3), End::Lower), Some(3.0));
        assert_eq!(place(&Field::Text("dftsp".into()), End::Upper), None);
    }
}
