//! Sweep files and the cells that they describe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hedgerow_workload::read_text;
use serde::Deserialize;
use toml::{Table, Value};

use super::cell::Cell;
use super::change;
use super::error::SweepError;
use super::row::Field;
use crate::scenario::Scenario;

/// A sweep; its cells are ordered by case, then by the grid's keys, then by policy, then by seed.
#[derive(Clone, Debug)]
pub struct Sweep {
    keys: Vec<String>,
    cells: Vec<Cell>,
    inputs: Inputs,
}

/// The texts of a sweep file and of its scenarios; two sweeps are equal if these are.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Inputs {
    sweep: String,
    scenarios: BTreeMap<PathBuf, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSweep {
    scenario: Option<PathBuf>,
    seeds: Option<RawSeeds>,
    policies: Option<Vec<String>>,
    #[serde(default)]
    unset: Vec<String>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    grid: Table,
    #[serde(default)]
    case: Vec<RawCase>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawSeeds {
    Count(u32),
    List(Vec<u64>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<String>,
    scenario: Option<PathBuf>,
    #[serde(default)]
    unset: Vec<String>,
    #[serde(default)]
    set: Table,
}

/// A key of the grid and its values.
type Axis = (String, Vec<Value>);

impl Sweep {
    /// Reads a sweep file; the paths of its scenarios are relative to it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, and as for [`Sweep::parse`].
    pub fn load(path: &Path) -> Result<Self, SweepError> {
        let read = |path: &Path| {
            read_text(path).map_err(|source| SweepError::Unreadable { path: path.to_owned(), source })
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&read(path)?, folder, |scenario| read(&folder.join(scenario)))
    }

    /// Reads a sweep from its text; `read` returns the text of each scenario that it names. Paths in scenarios are
    /// relative to the scenario file, as if the sweep file were in `folder`.
    ///
    /// # Errors
    ///
    /// When it is not TOML, has an unknown key, or a cell's scenario is invalid; each error names the place.
    pub fn parse(
        text: &str,
        folder: &Path,
        mut read: impl FnMut(&Path) -> Result<String, SweepError>,
    ) -> Result<Self, SweepError> {
        let raw: RawSweep = toml::from_str(text).map_err(form)?;
        let seeds = seeds(raw.seeds)?;
        let axes = axes(raw.grid)?;
        let policies = policies(raw.policies)?;
        let mut sweep = Self {
            keys: axes.iter().map(|(key, _)| key.clone()).collect(),
            cells: Vec::new(),
            inputs: Inputs { sweep: text.to_owned(), scenarios: BTreeMap::new() },
        };
        let cases = if raw.case.is_empty() { vec![RawCase::default()] } else { raw.case };
        for case in cases {
            let path = case.scenario.as_ref().or(raw.scenario.as_ref()).ok_or(SweepError::Value {
                key: "scenario".into(),
                problem: "is missing",
                hint: "name the scenario file that the cells change",
            })?;
            let scenario = read(path)?;
            let mut base: Table = toml::from_str(&scenario).map_err(form)?;
            sweep.inputs.scenarios.insert(path.clone(), scenario);
            for key in raw.unset.iter().chain(&case.unset) {
                change::unset(&mut base, key);
            }
            for (key, value) in change::flat(raw.set.clone()).into_iter().chain(change::flat(case.set)) {
                set(&mut base, &key, value)?;
            }
            let case = case.name.as_deref();
            let folder = folder.join(path).parent().unwrap_or(folder).to_owned();
            sweep.add_grid(&base, &folder, case, &axes, &policies, &seeds)?;
        }
        Ok(sweep)
    }

    /// The grid's keys, as dotted keys of a scenario.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// All cells.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub(super) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Adds the Cartesian product of the axes; the last axis varies fastest.
    fn add_grid(
        &mut self,
        base: &Table,
        folder: &Path,
        case: Option<&str>,
        axes: &[Axis],
        policies: &[Option<String>],
        seeds: &[Option<u64>],
    ) -> Result<(), SweepError> {
        let points: usize = axes.iter().map(|(_, values)| values.len()).product();
        for point in 0..points {
            let mut scenario = base.clone();
            let mut values = Vec::new();
            let mut left = points;
            for (key, choices) in axes {
                left /= choices.len();
                let value = &choices[point / left % choices.len()];
                values.push(Field::of(value));
                set(&mut scenario, key, value.clone())?;
            }
            for policy in policies {
                for &seed in seeds {
                    if let Some(policy) = policy {
                        set(&mut scenario, "planning.policy", Value::String(policy.clone()))?;
                    }
                    if let Some(seed) = seed {
                        let seed = i64::try_from(seed).expect("seeds were checked");
                        set(&mut scenario, "seed", Value::Integer(seed))?;
                    }
                    let text = toml::to_string(&scenario).expect("a table can be written");
                    let scenario = Scenario::parse_in(&text, folder).map_err(|source| {
                        SweepError::Scenario { cell: Cell::label(case, &self.keys, &values), source }
                    })?;
                    self.cells.push(Cell { case: case.map(str::to_owned), values: values.clone(), scenario });
                }
            }
        }
        Ok(())
    }
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), SweepError> {
    change::set(table, key, value).map_err(|part| SweepError::NoSuchKey { key: key.to_owned(), part })
}

fn seeds(raw: Option<RawSeeds>) -> Result<Vec<Option<u64>>, SweepError> {
    let wrong = |problem| SweepError::Value {
        key: "seeds".into(),
        problem,
        hint: "say how many seeds, `seeds = 5`, or which, `seeds = [1, 2, 3]`",
    };
    let seeds: Vec<u64> = match raw {
        None => return Ok(vec![None]),
        Some(RawSeeds::Count(count)) => (1..=u64::from(count)).collect(),
        Some(RawSeeds::List(list)) => list,
    };
    if seeds.is_empty() {
        return Err(wrong("is none"));
    }
    if seeds.iter().any(|&seed| i64::try_from(seed).is_err()) {
        return Err(wrong("has a number too large for TOML"));
    }
    Ok(seeds.into_iter().map(Some).collect())
}

fn policies(raw: Option<Vec<String>>) -> Result<Vec<Option<String>>, SweepError> {
    match raw {
        None => Ok(vec![None]),
        Some(policies) if policies.is_empty() => Err(SweepError::Value {
            key: "policies".into(),
            problem: "is an empty list",
            hint: "name policies, or remove the key to take the scenario's own",
        }),
        Some(policies) => Ok(policies.into_iter().map(Some).collect()),
    }
}

fn axes(grid: Table) -> Result<Vec<Axis>, SweepError> {
    let axis = |(key, value)| match value {
        Value::Array(values) if !values.is_empty() => Ok((key, values)),
        Value::Array(_)
        | Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => Err(SweepError::Value {
            key: format!("grid.{key}"),
            problem: "is no list of values",
            hint: "write the values it is to take as a list, `\"users.rate_per_s\" = [5, 10]`; \
                   what is to be the same everywhere belongs under `[set]`",
        }),
    };
    change::flat(grid).into_iter().map(axis).collect()
}

fn form(error: toml::de::Error) -> SweepError {
    SweepError::Form { message: error.to_string().trim_end().to_owned() }
}
