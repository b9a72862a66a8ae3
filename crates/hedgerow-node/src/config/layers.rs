//! Merges the configuration layers; each value is stored with its source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ArgMatches;
use clap::parser::ValueSource;
use hedgerow_workload::hint::hinted;
use toml::{Table, Value};

use super::args::KEYS;
use super::checked::Config;
use super::raw::RawConfig;

/// `config/default.toml`: every key, with its default.
pub(super) const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// A configuration and, for each `section.key`, its value and source.
#[derive(Debug)]
pub struct Layered {
    /// The effective configuration.
    pub config: Config,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// Every key: value and source.
    pub values: Values,
}

/// Reads the defaults and then a file, if there is one: for programs without these flags and environment variables.
///
/// # Errors
///
/// As [`load`].
pub fn of_file(file: Option<&Path>) -> anyhow::Result<Config> {
    check(&defaults_and(file)?)
}

/// Reads all layers: defaults, the file (or else the usual one), the environment and the flags in `matches`.
///
/// # Errors
///
/// When a file cannot be read, or has an unknown key or an invalid value; the message names the key, the value and
/// its source.
pub fn load(matches: &ArgMatches, file: Option<&Path>) -> anyhow::Result<Layered> {
    let file = file.map(Path::to_owned).or_else(usual_file);
    let mut values = defaults_and(file.as_deref())?;
    for (flag, section, key) in KEYS {
        if let Some((value, source)) = said(matches, flag) {
            let place =
                values.get_mut(&(section.to_owned(), key.to_owned())).expect("every flag has a default");
            *place = (like(&place.0, &value, &source)?, source);
        }
    }
    Ok(Layered { config: check(&values)?, file, values })
}

/// Every key, by section and name: value and source.
pub type Values = BTreeMap<(String, String), (Value, String)>;

fn defaults_and(file: Option<&Path>) -> anyhow::Result<Values> {
    let mut values = BTreeMap::new();
    let defaults: Table = toml::from_str(DEFAULTS).context("reading the embedded config/default.toml")?;
    lay(&mut values, defaults, "default");
    if let Some(path) = file {
        let text = hedgerow_workload::read_text(path).map_err(|error| {
            hinted(
                format!("cannot read the configuration file {}: {error}", path.display()),
                "check the path given by --config",
            )
        })?;
        lay(&mut values, parse_file(&text, path)?, &path.display().to_string());
    }
    Ok(values)
}

fn check(values: &Values) -> anyhow::Result<Config> {
    Config::check(&collect(values)?, &|section, key| values[&(section.to_owned(), key.to_owned())].1.clone())
}

/// The default configuration file, if it exists.
fn usual_file() -> Option<PathBuf> {
    let of_user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .map(|folder| folder.join("hedgerow/config.toml"));
    let of_system = PathBuf::from("/etc/hedgerow/hedgerow.toml");
    of_user.into_iter().chain([of_system]).find(|path| path.is_file())
}

/// Parses a file separately first, so that an error is reported with its line.
fn parse_file(text: &str, path: &Path) -> anyhow::Result<Table> {
    let wrong = |error: toml::de::Error| {
        let message = error.to_string();
        hinted(
            format!("in {}: {}", path.display(), message.trim_end()),
            "`hedgerow config` shows every key and its value",
        )
    };
    toml::from_str::<RawConfig>(text).map_err(wrong)?;
    toml::from_str(text).map_err(wrong)
}

/// Keys with an old name: section, old name; section and name of today.
const RENAMED: [(&str, &str, &str, &str); 2] = [
    ("server", "max_body_mib", "limits", "body_mib"),
    ("server", "body_timeout_s", "limits", "body_timeout_s"),
];

fn lay(values: &mut Values, table: Table, source: &str) {
    for (section, keys) in table {
        let Value::Table(keys) = keys else { continue };
        for (key, value) in keys {
            let renamed = RENAMED.iter().find(|(of, old, ..)| (*of, *old) == (&section, &key));
            let place = match renamed {
                Some((_, _, section, key)) => ((*section).to_owned(), (*key).to_owned()),
                None => (section.clone(), key),
            };
            values.insert(place, (value, source.to_owned()));
        }
    }
}

/// The value of a flag or its environment variable, and its source.
fn said(matches: &ArgMatches, flag: &str) -> Option<(String, String)> {
    // A command without this flag (`demo` has no model of its own) gives no value.
    let source = matches.try_contains_id(flag).ok().and_then(|_| matches.value_source(flag))?;
    // All values of a list, joined with commas as in the file.
    let values: Vec<_> = matches.get_raw(flag)?.map(|value| value.to_string_lossy()).collect();
    let value = values.join(",");
    match source {
        ValueSource::CommandLine => Some((value, format!("--{}", flag.replace('_', "-")))),
        ValueSource::EnvVariable => Some((value, format!("HEDGEROW_{}", flag.to_uppercase()))),
        ValueSource::DefaultValue | _ => None,
    }
}

/// Parses a flag's text as the type of its key.
fn like(default: &Value, text: &str, source: &str) -> anyhow::Result<Value> {
    let value = match default {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    value.ok_or_else(|| {
        let kind = default.type_str();
        hinted(
            format!("{source} is `{text}`, which is not a number"),
            format!("give {source} a value of type {kind}, such as {default}"),
        )
    })
}

fn collect(values: &Values) -> anyhow::Result<RawConfig> {
    let mut table = Table::new();
    for ((section, key), (value, _)) in values {
        let keys = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        keys.as_table_mut().expect("sections are tables").insert(key.clone(), value.clone());
    }
    table.try_into().context("putting the configuration together")
}
