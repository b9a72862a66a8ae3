//! A number with its source.

use serde::{Deserialize, Serialize};

/// Kind of source of a number, in ascending order of reliability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By a rule of thumb, which the source names.
    Assumed,
    /// Published by others, for a model like this one.
    Published,
    /// Measured on this machine with this file.
    Measured,
}

/// The source of a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Whether the number is assumed, published or measured.
    pub kind: Kind,
    /// What was measured and how, who published it, or what is assumed.
    pub what: String,
    /// When it was measured, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_unix_s: Option<u64>,
}

/// A number with its source and, if it has one, its 95 % confidence interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure<T = f64> {
    /// The number, in the unit of the field that holds the figure.
    pub value: T,
    /// Lower bound of the confidence interval; `None` if the number has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<T>,
    /// Upper bound of the confidence interval; `None` if the number has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<T>,
    /// How the number was obtained.
    pub source: Source,
}

impl Source {
    /// Builds the source of a number that follows from a rule of thumb, which `what` names.
    pub fn assumed(what: &str) -> Self {
        Self { kind: Kind::Assumed, what: what.to_owned(), when_unix_s: None }
    }

    pub(super) fn published(what: String) -> Self {
        Self { kind: Kind::Published, what, when_unix_s: None }
    }

    pub(super) fn measured(what: String, when_unix_s: u64) -> Self {
        Self { kind: Kind::Measured, what, when_unix_s: Some(when_unix_s) }
    }

    /// Builds a figure with this source.
    pub fn of<T>(&self, value: T) -> Figure<T> {
        Figure { value, low: None, high: None, source: self.clone() }
    }
}

/// Returns the more reliable of two figures: measured here before published before assumed; the first one on a tie.
pub(super) fn better<T>(one: Option<Figure<T>>, other: Option<Figure<T>>) -> Option<Figure<T>> {
    match (one, other) {
        (Some(one), Some(other)) if other.source.kind > one.source.kind => Some(other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_replaces_what_was_published_and_that_what_was_assumed() {
        let measured = || Some(Source::measured("here".into(), 1).of(1.0));
        let published = || Some(Source::published("there".into()).of(2.0));
        let assumed = || Some(Source::assumed("a rule").of(3.0));
        for (one, other, expected) in [
            (assumed(), published(), published()),
            (published(), assumed(), published()),
            (published(), measured(), measured()),
            (measured(), assumed(), measured()),
            (None, assumed(), assumed()),
            (assumed(), None, assumed()),
            (None, None, None),
        ] {
            assert_eq!(better(one, other), expected);
        }
    }
}
