//! Tests that `data/keys.csv` declares what the code does.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::keys::Key;
use super::tests::{ALL, CONTINUOUS, PAPER};
use super::{Scenario, ScenarioError};

/// Scenarios that together use every table and most keys.
fn texts() -> Vec<String> {
    let hints = "[knowledge]\noutput_length = \"hint\"\n";
    let daily = "[arrivals]\nprocess = \"diurnal\"\namplitude = 0.5\n";
    let on_off = "[arrivals]\nprocess = \"on_off\"\non_s = 1.0\noff_s = 1.0\n";
    let trace = "[arrivals]\nprocess = \"trace\"\ntrace = \"azure-conv-2023\"\n";
    let slow = CONTINUOUS.replace("\nrate_per_s = 10.0", "\nrate_per_s = 1.0");
    let more =
        [format!("{PAPER}\n{hints}{daily}"), format!("{CONTINUOUS}\n{on_off}"), format!("{slow}\n{trace}")];
    ALL.map(str::to_owned).into_iter().chain(more).collect()
}

/// Reads a scenario with one more key.
fn with(text: &str, section: &str, name: &str, value: Value) -> Result<Scenario, ScenarioError> {
    let mut document: Table = toml::from_str(text).unwrap();
    let change = |inside: &mut Value| {
        inside.as_table_mut().unwrap().insert(name.to_owned(), value.clone());
    };
    match section {
        "" => {
            document.insert(name.to_owned(), value);
        }
        "lengths" => change(&mut document["users"]["prompt_tokens"]),
        "class" | "precision" => {
            let elements = document.entry(section).or_insert_with(|| vec![Value::Table(Table::new())].into());
            change(&mut elements[0]);
        }
        _ => change(document.entry(section).or_insert_with(|| Table::new().into())),
    }
    Scenario::parse(&toml::to_string(&document).unwrap())
}

/// All keys of files, without those that are only shown.
fn keys() -> impl Iterator<Item = &'static Key> {
    Key::all().iter().filter(|key| key.default != "shown")
}

fn names_of(section: &str) -> BTreeSet<&'static str> {
    keys().filter(|key| key.section == section).map(|key| key.name.as_str()).collect()
}

#[test]
fn the_table_has_the_keys_that_files_may_have() {
    let sections: BTreeSet<&str> = keys().map(|key| key.section.as_str()).collect();
    // A distribution of lengths has several forms, so that its keys are in no error.
    for &section in sections.iter().filter(|section| **section != "lengths") {
        let mut declared = names_of(section);
        match section {
            "" => declared.extend(sections.iter().filter(|name| !["", "lengths"].contains(name))),
            "class" => declared.extend(names_of("users").iter().filter(|name| **name != "rate_per_s")),
            _ => {}
        }
        match with(PAPER, section, "no_such_key", 1.into()) {
            Err(ScenarioError::Unknown { name, known, .. }) if name == "no_such_key" => {
                let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
                assert_eq!(known, declared, "[{section}]");
            }
            other => panic!("[{section}]: {other:?}"),
        }
    }
}

#[test]
fn every_number_has_a_range() {
    let text = PAPER.replace(
        "prompt_tokens = [128, 256, 512]",
        "prompt_tokens = { median = 1.0, sigma = 1.0, most = 1 }",
    );
    for key in keys() {
        let name = &key.name;
        // Its bounds can be read.
        key.bounds().map(|bounds| bounds.contains(0.0));
        match with(&text, &key.section, name, 1e308.into()) {
            // It is no number, or a whole one.
            Err(ScenarioError::Form { .. }) => {}
            Err(ScenarioError::Value { key, .. }) if key.ends_with(name) => {}
            other => panic!("{}.{name}: {other:?}", key.section),
        }
    }
}

#[test]
fn declared_words_are_the_valid_ones() {
    for key in keys().filter(|key| key.values.starts_with('`')) {
        match with(PAPER, &key.section, &key.name, "no_such_word".into()) {
            Err(ScenarioError::Unknown { known, .. }) => {
                let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
                assert_eq!(known.join(", "), key.values, "{}.{}", key.section, key.name);
            }
            other => panic!("{}.{}: {other:?}", key.section, key.name),
        }
    }
    assert_eq!(Key::find("planning", "policy").unwrap().values, hedgerow_solver::Policy::NAMES);
}

#[test]
fn declared_defaults_are_in_force() {
    let number =
        |text: &str| text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Float)).ok();
    let word = |text: &str| text.strip_prefix('`')?.strip_suffix('`').map(Value::from);
    for key in keys() {
        let Some(default) = number(&key.default).or_else(|| word(&key.default)) else { continue };
        let mut tried = 0;
        for text in texts() {
            let document: Table = toml::from_str(&text).unwrap();
            let is_given = document.get(&key.section).is_some_and(|table| table.get(&key.name).is_some());
            // Scenarios in which the key has no effect refuse it.
            if let (false, Ok(written)) = (is_given, with(&text, &key.section, &key.name, default.clone())) {
                assert_eq!(written, Scenario::parse(&text).unwrap(), "{}.{}", key.section, key.name);
                tried += 1;
            }
        }
        assert!(tried > 0, "no scenario may have {}.{} = {default}", key.section, key.name);
    }
}

#[test]
fn every_file_names_every_key() {
    for text in ALL {
        // `duration_s` would replace `requests`.
        for key in keys().filter(|key| key.section != "lengths" && key.name != "duration_s") {
            let listed = format!("{} = ", key.name);
            let is_listed = |line: &str| line.trim_start_matches("# ").starts_with(&listed);
            assert!(text.lines().any(is_listed), "[{}] has no `{}` in\n{text}", key.section, key.name);
        }
    }
}

#[test]
fn values_are_shown_by_their_keys_in_the_tables_order() {
    for text in texts() {
        for section in Scenario::parse(&text).unwrap().sections() {
            let table = match section.name.split_once('.') {
                Some((table @ ("precision" | "class"), _)) => table,
                _ if section.name == "scenario" => "",
                _ => &section.name,
            };
            // The protocol is shown with the planning.
            let find = |name: &str| Key::find(table, name).or_else(|| Key::find("protocol", name));
            let place = |(name, _): &(&str, serde_json::Value)| {
                let key = find(name).unwrap_or_else(|| panic!("no {table}.{name}"));
                Key::all().iter().position(|other| std::ptr::eq(key, other))
            };
            assert!(section.values.iter().map(place).is_sorted(), "[{table}]: {:?}", section.values);
        }
    }
}
