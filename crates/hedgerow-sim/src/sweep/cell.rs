//! The cells of a sweep.

use super::row::Field;
use crate::scenario::Scenario;

/// One scenario of a sweep and its coordinates.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The case's name, in sweeps that list cases.
    pub case: Option<String>,
    /// The value of each of the grid's keys, in the order of [`super::Sweep::keys`].
    pub values: Vec<Field>,
    /// The scenario.
    pub scenario: Scenario,
}

impl Cell {
    /// Its coordinates for messages: `case = tight, users.rate_per_s = 5`.
    pub(super) fn label(case: Option<&str>, keys: &[String], values: &[Field]) -> String {
        let case = case.map(|case| format!("case = {case}"));
        let values = keys.iter().zip(values).map(|(key, value)| format!("{key} = {value}"));
        case.into_iter().chain(values).collect::<Vec<_>>().join(", ")
    }
}
