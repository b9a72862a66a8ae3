//! The keys file: one entry per key, with the hash of the key and its limits.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hedgerow_core::request::Tenant;
use hedgerow_core::time::{Instant, Span};
use hedgerow_node::models::hex;
use hedgerow_workload::hint::hinted;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Key;
use super::usage::Usage;

/// A key, as the keys file has it: an entry `[[key]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Its name in the log and in metrics.
    pub name: String,
    /// The SHA-256 of the key, as hexadecimal digits. Keys are random, so that a slow hash would protect no better.
    pub sha256: String,
    /// Whether it may use the endpoints for operators.
    #[serde(default)]
    pub admin: bool,
    /// Its weight when there is not enough for all keys; at least 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Requests per second, on average.
    pub requests_per_s: Option<f64>,
    /// Requests at once beyond that rate; as many as come in a second if it is missing.
    pub burst: Option<f64>,
    /// Requests that wait or run at once; half of the queue if it is missing.
    pub concurrency: Option<u32>,
    /// Tokens per hour, of prompts and answers. An hour's tokens may be used at once.
    pub tokens_per_hour: Option<f64>,
    /// The most value of a request.
    #[serde(default = "one")]
    pub value_max: u32,
    /// The shortest deadline, ms.
    pub deadline_ms_min: Option<f64>,
    /// The longest deadline, ms.
    pub deadline_ms_max: Option<f64>,
    /// The deadline of requests that have none, ms.
    pub default_deadline_ms: Option<f64>,
    /// The quality floor of requests that have none, 0 to 1.
    pub default_min_quality: Option<f64>,
    /// The models that it may use, by name; empty: all.
    #[serde(default)]
    pub models: Vec<String>,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<KeyEntry>,
}

impl KeyEntry {
    /// An entry without limits.
    pub fn new(name: &str, secret: &str) -> Self {
        Self {
            name: name.to_owned(),
            sha256: hex(&hash(secret)),
            admin: false,
            weight: 1,
            requests_per_s: None,
            burst: None,
            concurrency: None,
            tokens_per_hour: None,
            value_max: 1,
            deadline_ms_min: None,
            deadline_ms_max: None,
            default_deadline_ms: None,
            default_min_quality: None,
            models: Vec::new(),
        }
    }

    /// The deadline of requests that have none.
    pub(super) fn default_deadline(&self) -> Option<Span> {
        self.default_deadline_ms.map(|ms| Span::from_seconds(ms / 1e3))
    }

    /// The tenant of its requests: the same after a reload.
    pub(super) fn tenant(&self) -> Tenant {
        let [a, b, c, d, ..] = hash(&self.name);
        Tenant { id: u32::from_le_bytes([a, b, c, d]), weight: self.weight }
    }

    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        let numbers = [
            ("requests_per_s", self.requests_per_s, 0.001, 1e6),
            ("burst", self.burst, 1.0, 1e6),
            ("tokens_per_hour", self.tokens_per_hour, 1.0, 1e12),
            ("deadline_ms_min", self.deadline_ms_min, 1.0, 86_400_000.0),
            ("deadline_ms_max", self.deadline_ms_max, 1.0, 86_400_000.0),
            ("default_deadline_ms", self.default_deadline_ms, 1.0, 86_400_000.0),
            ("default_min_quality", self.default_min_quality, 0.0, 1.0),
            ("weight", Some(f64::from(self.weight)), 1.0, 1000.0),
            ("value_max", Some(f64::from(self.value_max)), 1.0, 1000.0),
        ];
        let is_wrong = |&(_, value, least, most): &(&str, Option<f64>, f64, f64)| {
            value.is_some_and(|value| !(least..=most).contains(&value))
        };
        if let Some((name, value, least, most)) = numbers.into_iter().find(is_wrong) {
            return Some(format!(
                "`{name}` is {}, but must be from {least} to {most}",
                value.unwrap_or_default()
            ));
        }
        if self.name.is_empty() || self.name.len() > 64 || self.name.chars().any(char::is_control) {
            return Some("`name` must have from 1 to 64 bytes".to_owned());
        }
        let is_hash = self.sha256.len() == 64 && self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!is_hash).then(|| "`sha256` must be 64 hexadecimal digits".to_owned())
    }
}

/// Reads a keys file.
///
/// # Errors
///
/// When it cannot be read, is no TOML, or an entry is invalid or repeated; the message never has a hash.
pub fn read_keys(path: &Path) -> anyhow::Result<Vec<KeyEntry>> {
    let failed = |what: String| {
        hinted(
            format!("the keys file {}: {what}", path.display()),
            "`hedgerow keys add NAME` writes entries; docs/guides/access.md describes them",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let KeysFile { key: entries } =
        toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))?;
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for entry in &entries {
        if let Some(fault) = entry.fault() {
            return Err(failed(format!("the key `{}`: {fault}", entry.name)));
        }
        if !names.insert(&entry.name) || !hashes.insert(entry.sha256.to_lowercase()) {
            return Err(failed(format!("the key `{}` is there twice, by name or by hash", entry.name)));
        }
    }
    Ok(entries)
}

/// A new random key.
pub fn new_key() -> String {
    format!("hr-{}", hex(&rand::random::<[u8; 32]>()))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The keys of a file, and what each has used.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<([u8; 32], Arc<KeyEntry>, Arc<Usage>)>);

impl Keys {
    /// The keys of a file. A key that was there before goes on with what it has used. Where a key says nothing else, it
    /// may have `under_way_max` requests under way, so that no key alone takes the whole queue.
    pub(super) fn new(
        entries: Vec<KeyEntry>,
        under_way_max: u32,
        before: Option<&Self>,
        now: Instant,
    ) -> Self {
        let usage_of = |name: &str| {
            let known = before.and_then(|before| before.0.iter().find(|(_, entry, _)| entry.name == name));
            known.map(|(.., usage)| Arc::clone(usage))
        };
        let keyed = entries.into_iter().map(|mut entry| {
            entry.concurrency.get_or_insert(under_way_max);
            let mut hash = [0; 32];
            for (byte, digits) in hash.iter_mut().zip(entry.sha256.as_bytes().chunks(2)) {
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                *byte = u8::from_str_radix(digits, 16).expect("the entry was checked");
            }
            let usage = usage_of(&entry.name).unwrap_or_else(|| Arc::new(Usage::new(&entry, now)));
            (hash, Arc::new(entry), usage)
        });
        Self(keyed.collect())
    }

    /// The entry of a key. Takes the same time whichever it is, and if there is none.
    pub(super) fn find(&self, secret: &str) -> Option<Key> {
        let hash = hash(secret);
        let mut found = None;
        for (known, entry, usage) in &self.0 {
            if bool::from(known.ct_eq(&hash)) {
                found = Some((entry, usage));
            }
        }
        found.map(|(entry, usage)| Key { entry: Arc::clone(entry), usage: Arc::clone(usage) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<KeyEntry>, String> {
        let folder =
            std::env::temp_dir().join(format!("hedgerow-keys-{}-{}", std::process::id(), text.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys.toml");
        std::fs::write(&path, text).unwrap();
        let keys = read_keys(&path).map_err(|error| format!("{error:#}"));
        std::fs::remove_dir_all(folder).unwrap();
        keys
    }

    #[test]
    fn a_key_is_found_by_its_secret_only() {
        let entries = ["one", "two"].map(|secret| KeyEntry::new(&format!("key {secret}"), secret));
        let keys = Keys::new(entries.to_vec(), 100, None, Instant::START);
        assert_eq!(keys.find("two").unwrap().name(), "key two");
        for wrong in ["", "three", "key two", &entries[1].sha256] {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
        assert_ne!(new_key(), new_key());
    }

    #[test]
    fn a_file_with_a_fault_is_refused_by_name_and_without_the_hash() {
        let entry = |more: &str| format!("[[key]]\nname = \"a\"\nsha256 = \"{}\"\n{more}", "ab".repeat(32));
        assert_eq!(read(&entry("concurrency = 3")).unwrap()[0].concurrency, Some(3));
        for (more, said) in [
            ("value_max = 2000", "`value_max` is 2000, but must be from 1 to 1000"),
            ("requests_per_s = 0.0", "`requests_per_s` is 0, but must be from 0.001 to 1000000"),
            ("colour = 1", "unknown field `colour`"),
            (&entry(""), "is there twice"),
        ] {
            let error = read(&entry(more)).unwrap_err();
            assert!(error.contains(said) && !error.contains("abab"), "{error}");
        }
        assert!(
            read("[[key]]\nname = \"a\"\nsha256 = \"abab\"").unwrap_err().contains("64 hexadecimal digits")
        );
    }

    #[test]
    fn a_key_that_says_nothing_about_it_takes_no_more_than_its_part_of_the_queue() {
        let keys = Keys::new(vec![KeyEntry::new("a", "secret")], 2, None, Instant::START);
        let Key { entry, usage } = keys.find("secret").unwrap();
        let begun = [(); 3].map(|()| usage.begin(&entry, Instant::START).is_ok());
        assert_eq!(begun, [true, true, false]);
    }

    #[test]
    fn a_reloaded_key_has_used_what_it_had_used() {
        let entry = KeyEntry { concurrency: Some(1), ..KeyEntry::new("a", "secret") };
        let keys = Keys::new(vec![entry.clone()], 100, None, Instant::START);
        keys.find("secret").unwrap().usage.begin(&entry, Instant::START).unwrap();
        let again = Keys::new(vec![entry.clone()], 100, Some(&keys), Instant::START);
        assert!(again.find("secret").unwrap().usage.begin(&entry, Instant::START).is_err());
    }
}
