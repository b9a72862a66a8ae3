//! Tests of extreme values for every number of a scenario.

use toml::{Table, Value};

use super::{Overrides, Scenario};
use crate::{Simulation, scenario::tests::ALL};

/// The place of a value: keys of tables and positions in lists.
type Path = Vec<Step>;

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Collects the places of all numbers of a document.
fn numbers(value: &Value, at: &mut Path, found: &mut Vec<Path>) {
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(at.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push(Step::Index(index));
                numbers(item, at, found);
                at.pop();
            }
        }
        Value::Table(table) => {
            for (key, item) in table {
                at.push(Step::Key(key.clone()));
                numbers(item, at, found);
                at.pop();
            }
        }
        Value::String(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn place<'a>(value: &'a mut Value, at: &[Step]) -> &'a mut Value {
    at.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    })
}

/// The last key of a path, which an error must name.
fn key(at: &[Step]) -> &str {
    let keys = at.iter().rev().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    // Lengths are a table of their own: `prompt_tokens.least`.
    keys.take(1).next().expect("a number has a key")
}

/// Keys that the scenarios leave out; they are added so that they are tested too.
const MORE: [(&str, &str, f64); 12] = [
    ("node", "accelerator_tflops", 1.33),
    ("node", "accelerator_bandwidth_gb_per_s", 59.7),
    ("protocol", "epoch_ms", 2000.0),
    ("protocol", "compute_slot_ms", 1000.0),
    ("radio", "rician_k_sigma_db", 1.0),
    ("radio", "user_height_m", 1.5),
    ("radio", "carrier_ghz", 3.5),
    ("radio", "shadowing_db", 4.0),
    ("radio", "shadowing_distance_m", 10.0),
    ("radio", "snr_gap_db", 1.0),
    ("users", "length_correlation", 0.5),
    ("knowledge", "engine_factor", 1.0),
];

fn document(text: &str) -> Value {
    let mut table: Table = toml::from_str(text).unwrap();
    for (section, key, number) in MORE {
        let section = table.entry(section).or_insert_with(|| Table::new().into());
        section.as_table_mut().unwrap().entry(key).or_insert(number.into());
    }
    Value::Table(table)
}

#[test]
fn an_invalid_number_is_refused_by_its_key_and_any_other_can_be_played() {
    const NUMBERS: [f64; 8] = [-1.0, 0.0, f64::NAN, f64::INFINITY, 1e308, -1e308, 1e-308, 1e-12];
    const WHOLE: [i64; 4] = [-1, 0, u32::MAX as i64, i64::MAX];
    let mut wrong = Vec::new();
    for text in ALL {
        let document = document(text);
        Scenario::parse(&toml::to_string(&document).unwrap()).expect("it is a scenario before it is changed");
        let mut paths = Vec::new();
        numbers(&document, &mut Vec::new(), &mut paths);
        assert!(paths.len() > 40, "{} numbers", paths.len());
        for at in &paths {
            let number = NUMBERS.into_iter().map(Value::Float).chain(WHOLE.into_iter().map(Value::Integer));
            for number in number {
                let mut changed = document.clone();
                *place(&mut changed, at) = number.clone();
                match Scenario::parse(&toml::to_string(&changed).unwrap()) {
                    Err(error) => {
                        let error = error.to_string();
                        if !error.contains(key(at)) {
                            wrong.push(format!("{at:?} = {number}: {error}"));
                        }
                    }
                    Ok(scenario) => {
                        let overrides = Overrides { requests: Some(5), ..Overrides::default() };
                        let scenario = scenario.with(&overrides).unwrap();
                        // Neither a panic nor an endless loop.
                        Simulation::new(&scenario).run(|_| {});
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
