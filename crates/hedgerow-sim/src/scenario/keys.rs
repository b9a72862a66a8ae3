//! The keys of scenario files, each declared once in `data/keys.csv`: its table, default, valid values and meaning.
//!
//! The checks take the ranges of numbers from it and `docs/reference/scenarios.md` its tables; tests compare it with
//! the file's form in [`super::raw`], with the defaults and with the output of `hedgerow scenario show`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::models::rows;

/// Bounds of all numbers: beyond them, products of two could exceed the range of a float or of a nanosecond count.
const LEAST: &str = "1e-15";
const MOST: &str = "1e15";

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| rows(include_str!("../../data/keys.csv")));

/// A key of scenario files, or a value that only `hedgerow scenario show` has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "only the reference page needs `default` and `what`"))]
pub(super) struct Key {
    /// Its table; empty at the top level. `lengths` is the table of a distribution of lengths.
    pub(super) section: String,
    /// Its name, which contains its unit.
    pub(super) name: String,
    /// Its default, `needed`, or `shown` if it is no key of the file.
    pub(super) default: String,
    /// Its valid values; those of numbers are [`Bounds`].
    pub(super) values: String,
    /// Its meaning.
    pub(super) what: String,
}

impl Key {
    /// All keys, in the order of the table.
    #[cfg(test)]
    pub(super) fn all() -> &'static [Self] {
        &KEYS
    }

    /// Finds a key; classes may have the keys of `[users]`.
    pub(super) fn find(section: &str, name: &str) -> Option<&'static Self> {
        let of = |section: &str| KEYS.iter().find(|key| key.section == section && key.name == name);
        of(section).or_else(|| of("users").filter(|_| section == "class"))
    }

    /// The bounds of its number or numbers, if it has any.
    pub(super) fn bounds(&self) -> Option<Bounds<'_>> {
        Bounds::of(self.values.strip_prefix("two of ").unwrap_or(&self.values))
    }
}

/// The valid numbers of a key, with the bounds as they are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    least: &'a str,
    most: &'a str,
    /// Whether errors always name both bounds.
    is_span: bool,
}

impl<'a> Bounds<'a> {
    /// Reads `-1 to 1`, `above 0`, `at least 1` or `at least 0, at most 400`.
    fn of(words: &'a str) -> Option<Self> {
        if let Some((least, most)) = words.split_once(" to ") {
            return Some(Self { least, most, is_span: true });
        }
        let (least, most) = words.split_once(", at most ").unwrap_or((words, MOST));
        let least = if least == "above 0" { LEAST } else { least.strip_prefix("at least ")? };
        Some(Self { least, most, is_span: false })
    }

    fn least(self) -> f64 {
        self.least.parse().expect("a test reads every bound")
    }

    fn most(self) -> f64 {
        self.most.parse().expect("a test reads every bound")
    }

    /// Whether a number is valid.
    pub(super) fn contains(self, number: f64) -> bool {
        (self.least()..=self.most()).contains(&number)
    }

    /// The words of an error for an invalid number: the bound that it violates, or both.
    pub(super) fn words(self, invalid: f64) -> String {
        let Self { least, most, is_span } = self;
        let is_above_0 = (f64::MIN_POSITIVE..1e-3).contains(&self.least());
        if is_above_0 && (invalid.is_nan() || invalid <= 0.0) {
            "above 0".to_owned()
        } else if is_span {
            format!("from {least} to {most}")
        } else if invalid > self.most() {
            format!("of at most {most}")
        } else {
            format!("of at least {least}")
        }
    }
}
