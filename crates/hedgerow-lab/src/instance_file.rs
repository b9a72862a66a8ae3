//! Files of the format `hedgerow-instance/1` (`model.md §2`): strict parsing that reports the position of an error,
//! and human-readable output.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use hedgerow_solver::{Capacity, Instance, Item, NUMBER_LIMIT, Timing};
use hedgerow_workload::hint::hinted;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

/// The format's name and version, which every file carries.
const FORMAT: &str = "hedgerow-instance/1";

const HINT: &str =
    "the format is described in docs/design/model.md §2; examples/instances/ has files that can be solved";

/// An instance with the names from its file.
#[derive(Debug, PartialEq)]
pub(crate) struct InstanceFile {
    /// The instance's name in the file.
    pub(crate) name: Option<String>,
    /// The requests' names, in the order of [`Instance::items`].
    pub(crate) ids: Vec<String>,
    /// The instance to solve.
    pub(crate) instance: Instance,
}

impl InstanceFile {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// The first error in the file: a JSON syntax error with line and column, any other with its key, like
    /// `requests[3].memory`.
    pub(crate) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let mut input = serde_json::Deserializer::from_slice(json);
        let Object(raw): Object<RawFile> = serde_path_to_error::deserialize(&mut input)
            .map_err(|error| hinted(place_and_mistake(&error.path().to_string(), error.inner()), HINT))?;
        input.end().map_err(|error| hinted(error, HINT))?;
        let (ids, items): (Vec<String>, Vec<Item>) =
            raw.requests.into_iter().map(|Object(request)| request.split()).unzip();
        check_ids(&ids)?;
        let Object(capacity) = raw.capacity;
        let capacity = Capacity {
            uplink: capacity.uplink.0,
            downlink: capacity.downlink.0,
            memory: capacity.memory.0,
            compute_us: capacity.compute_us.0,
        };
        Ok(Self { name: raw.name, ids, instance: Instance { capacity, items, timing: Timing::Together } })
    }

    /// Serializes the instance, one line per request; [`Self::parse`] reads it back unchanged.
    ///
    /// # Panics
    ///
    /// When the batch does not finish together, which the format cannot express.
    pub(crate) fn to_json(&self) -> String {
        let Self { name, ids, instance: Instance { capacity, items, timing } } = self;
        assert_eq!(*timing, Timing::Together, "an instance file means one epoch");
        assert_eq!(ids.len(), items.len(), "each request has a name");
        let mut text = format!("{{ \"format\": \"{FORMAT}\",");
        if let Some(name) = name {
            write!(text, " \"name\": {},", quoted(name)).expect("text grows");
        }
        let Capacity { uplink, downlink, memory, compute_us } = capacity;
        write!(
            text,
            "\n  \"capacity\": {{ \"uplink\": {uplink}, \"downlink\": {downlink}, \"memory\": {memory}, \
             \"compute_us\": {compute_us} }},\n  \"requests\": ["
        )
        .expect("text grows");
        for (index, (id, item)) in ids.iter().zip(items).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let id = quoted(id);
            let Item { uplink, downlink, memory, compute_us, slack_us, value } = item;
            write!(
                text,
                "{comma}\n    {{ \"id\": {id}, \"uplink\": {uplink}, \"downlink\": {downlink}, \
                 \"memory\": {memory}, \"compute_us\": {compute_us}, \"slack_us\": {slack_us}, \
                 \"value\": {value} }}"
            )
            .expect("text grows");
        }
        text + "\n  ] }\n"
    }
}

/// Encodes a text as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Formats an error: the key first, where there is one; line and column only where the text is not valid JSON.
pub(crate) fn place_and_mistake(path: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => message,
        Category::Data => {
            let place_in_text = format!(" at line {} column {}", error.line(), error.column());
            let message = message.strip_suffix(&place_in_text).unwrap_or(&message);
            if path == "." { message.to_owned() } else { format!("{path}: {message}") }
        }
    }
}

/// Checks that ids are unique, because answers refer to requests by id.
fn check_ids(ids: &[String]) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for (index, id) in ids.iter().enumerate() {
        if let Some(first) = seen.insert(id, index) {
            let message = format!("requests[{index}].id: `{id}` is also the id of requests[{first}]");
            return Err(hinted(message, "give each request an id of its own"));
        }
    }
    Ok(())
}

/// The file as written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(rename = "format")]
    _format: Format,
    name: Option<String>,
    capacity: Object<RawCapacity>,
    requests: Vec<Object<RawRequest>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCapacity {
    uplink: Whole,
    downlink: Whole,
    memory: Whole,
    compute_us: Whole,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    id: String,
    uplink: Whole,
    downlink: Whole,
    memory: Whole,
    compute_us: Whole,
    slack_us: Whole,
    #[serde(default = "one")]
    value: Whole,
}

fn one() -> Whole {
    Whole(1)
}

impl RawRequest {
    fn split(self) -> (String, Item) {
        let item = Item {
            uplink: self.uplink.0,
            downlink: self.downlink.0,
            memory: self.memory.0,
            compute_us: self.compute_us.0,
            slack_us: self.slack_us.0,
            value: self.value.0,
        };
        (self.id, item)
    }
}

/// A JSON object only: serde by itself would also accept an array of the values.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// The value of `format`, which must be [`FORMAT`].
struct Format;

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value == FORMAT {
            return Ok(Self);
        }
        Err(D::Error::custom(format!("{} is not \"{FORMAT}\"", shown(&value))))
    }
}

/// A non-negative integer below 2⁵³, which every JSON library can read and write exactly.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        value.as_u64().filter(|&number| number < NUMBER_LIMIT).map(Self).ok_or_else(|| {
            D::Error::custom(format!("{} is not a non-negative integer below 2^53", shown(&value)))
        })
    }
}

/// A wrong value, short enough for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = value.to_string();
            if text.chars().count() <= 40 {
                return text;
            }
            text.chars().take(37).chain("...".chars()).collect()
        }
    }
}

#[cfg(test)]
#[path = "instance_file_tests.rs"]
mod tests;
