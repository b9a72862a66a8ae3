//! The result of a cell: a report as names and values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use crate::report::Report;

/// A value in a table.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Field {
    /// No value, such as a percentile of an empty set.
    Missing,
    /// A whole number.
    Count(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Field {
    /// Converts a scenario's value; lists and other composite values become their text.
    pub(super) fn of(value: &toml::Value) -> Self {
        match value {
            toml::Value::Integer(number) => Self::Count(*number),
            toml::Value::Float(number) => Self::Number(*number),
            toml::Value::String(text) => Self::Text(text.clone()),
            toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => Self::Text(value.to_string()),
        }
    }

    /// The value as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(*count as f64),
            Self::Number(number) => Some(*number),
            Self::Missing | Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Field {
    /// Formats the value for CSV, numbers with as many digits as they need.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => Ok(()),
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A report's values by name, in the report's order; `ttft_s.p50` is `p50` within `ttft_s`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(pub(super) Vec<(String, Field)>);

/// Names that are already in the cell's own columns.
const LABELS: [&str; 3] = ["scenario", "policy", "seed"];

impl Row {
    /// Converts a report.
    ///
    /// The conversion goes through JSON, so that a new row equals one read from a journal, and contains all values of
    /// the report.
    pub fn of(report: &Report) -> Self {
        let tree = serde_json::from_str(&report.to_json()).expect("a report is plain data");
        let mut row = Self::default();
        row.add(None, tree);
        row.0.retain(|(name, _)| !LABELS.contains(&name.as_str()));
        row
    }

    /// The value with a name.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, field)| field)
    }

    fn add(&mut self, name: Option<String>, tree: Tree) {
        match (tree, name) {
            (Tree::Leaf(field), name) => self.0.push((name.unwrap_or_default(), field)),
            (Tree::Branch(branch), name) => {
                for (inner, tree) in branch {
                    let name = name.as_ref().map_or(inner.clone(), |name| format!("{name}.{inner}"));
                    self.add(Some(name), tree);
                }
            }
        }
    }
}

impl Serialize for Row {
    /// Writes a list of pairs, because their order matters.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for pair in &self.0 {
            sequence.serialize_element(pair)?;
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// JSON with the order of its names; lists are ignored.
enum Tree {
    Leaf(Field),
    Branch(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report's value")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(i64::try_from(count).map_or(Field::Number(count as f64), Field::Count)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Field::Count(count)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Field::Number(number)))
    }

    fn visit_bool<E>(self, is_so: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Field::Text(is_so.to_string())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Field::Text(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Field::Missing))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut branch = Vec::new();
        while let Some(entry) = map.next_entry()? {
            branch.push(entry);
        }
        Ok(Tree::Branch(branch))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        while sequence.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Tree::Branch(Vec::new()))
    }
}
