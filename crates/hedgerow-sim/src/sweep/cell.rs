//! One point of a sweep.

use super::row::Field;
use crate::scenario::Scenario;

/// One scenario of a sweep, and what tells it from the others.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The case's name, in sweeps that list cases.
    pub case: Option<String>,
    /// The value of each of the grid's keys, in the order of [`super::Sweep::keys`].
    pub values: Vec<Field>,
    /// What is played.
    pub scenario: Scenario,
}

impl Cell {
    /// Its place in the sweep, as messages have it: `case=tight users.rate_per_s=5 dftsp seed 1`.
    pub(super) fn label(case: Option<&str>, keys: &[String], values: &[Field]) -> String {
        let case = case.map(|case| format!("case = {case}"));
        let values = keys.iter().zip(values).map(|(key, value)| format!("{key} = {value}"));
        case.into_iter().chain(values).collect::<Vec<_>>().join(", ")
    }
}
