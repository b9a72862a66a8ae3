//! Who may ask: API keys and their limits.
//!
//! - takes: the keys file, the headers of each request
//! - gives: a [`Caller`], which the request keeps to its end, or the refusal
//! - never: stores or logs a key; the file has hashes
//!
//! Without a keys file all clients are the same caller, and the value of its requests is bounded by
//! `access.anonymous_value_max`.

mod keys;
mod refusal;
mod usage;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use hedgerow_core::request::Tenant;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Quality, Tokens};
use hedgerow_node::clock::Clock;
use hedgerow_node::config::AccessConfig;

use keys::Keys;
pub(crate) use refusal::AccessRefusal;
use usage::Usage;

pub use keys::{KeyEntry, new_key, read_keys};

/// The keys in force.
pub(crate) struct Access {
    file: Option<PathBuf>,
    anonymous_value_max: u32,
    /// Requests that a key may have under way if it says nothing else.
    under_way_max: u32,
    clock: Clock,
    keys: RwLock<Arc<Keys>>,
}

/// A key that a request has.
#[derive(Debug)]
pub(crate) struct Key {
    entry: Arc<KeyEntry>,
    usage: Arc<Usage>,
}

/// The caller of one request, until its end.
#[derive(Debug)]
pub(crate) struct Caller {
    /// `None`: the server has no keys.
    key: Option<CallerKey>,
    value_max: u32,
}

#[derive(Debug)]
struct CallerKey {
    entry: Arc<KeyEntry>,
    usage: Arc<Usage>,
    clock: Clock,
}

impl Access {
    /// Reads the keys file, if one is configured.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is invalid.
    pub(crate) fn new(config: &AccessConfig, queue_capacity: usize, clock: Clock) -> anyhow::Result<Self> {
        let under_way_max = u32::try_from(queue_capacity / 2).unwrap_or(u32::MAX).max(1);
        let keys = match &config.keys_file {
            Some(file) => Keys::new(read_keys(file)?, under_way_max, None, clock.now()),
            None => Keys::default(),
        };
        Ok(Self {
            file: config.keys_file.clone(),
            anonymous_value_max: config.anonymous_value_max,
            under_way_max,
            clock,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// Reads the keys file again; what the keys have used remains. Returns the number of keys; `None`: there is no file.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is invalid; then the keys in force remain.
    pub(crate) fn reload(&self) -> anyhow::Result<Option<usize>> {
        let Some(file) = &self.file else { return Ok(None) };
        let entries = read_keys(file)?;
        let count = entries.len();
        let keys = Keys::new(entries, self.under_way_max, Some(&self.keys()), self.clock.now());
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(Some(count))
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key of a request; `None` where no keys are needed.
    ///
    /// # Errors
    ///
    /// When there are keys and the request has none of them.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Key>, AccessRefusal> {
        self.file.as_ref().map(|_| self.key_of(headers)).transpose()
    }

    /// The caller of a request with this key, after the key's limits; anonymous without one.
    ///
    /// # Errors
    ///
    /// When the key has used up a limit.
    pub(crate) fn admit(&self, key: Option<Key>) -> Result<Caller, AccessRefusal> {
        let Some(Key { entry, usage }) = key else {
            return Ok(Caller::anonymous(self.anonymous_value_max));
        };
        usage.begin(&entry, self.clock.now())?;
        let value_max = entry.value_max;
        Ok(Caller { key: Some(CallerKey { entry, usage, clock: self.clock }), value_max })
    }

    /// Whether a request may see what is for operators: it comes from this machine, or has an administrator's key.
    pub(crate) fn is_operator(&self, headers: &HeaderMap, is_local: bool) -> bool {
        is_local || self.file.is_some() && self.key_of(headers).is_ok_and(|key| key.entry.admin)
    }

    fn key_of(&self, headers: &HeaderMap) -> Result<Key, AccessRefusal> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| {
            let (scheme, secret) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
        });
        let secret = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
        let secret = secret.ok_or(AccessRefusal::NoKey { said: "the request has no API key" })?;
        self.keys().find(secret).ok_or(AccessRefusal::NoKey { said: "the API key is not known here" })
    }
}

impl Key {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.entry.name
    }
}

impl Caller {
    /// A caller where there are no keys.
    pub(crate) fn anonymous(value_max: u32) -> Self {
        Self { key: None, value_max }
    }

    /// The most value that it may give a request.
    pub(crate) fn value_max(&self) -> u32 {
        self.value_max
    }

    /// The tenant of its requests.
    pub(crate) fn tenant(&self) -> Option<Tenant> {
        self.key.as_ref().map(|key| key.entry.tenant())
    }

    /// The deadline of its requests that have none.
    pub(crate) fn default_deadline(&self) -> Option<Span> {
        self.key.as_ref()?.entry.default_deadline()
    }

    /// The quality floor of its requests that have none.
    pub(crate) fn default_min_quality(&self) -> Quality {
        let floor = self.key.as_ref().and_then(|key| key.entry.default_min_quality);
        floor.and_then(Quality::new).unwrap_or(Quality::NONE)
    }

    /// Refuses what the key may not ask for: other models, other deadlines.
    ///
    /// # Errors
    ///
    /// See above; the error names the limit.
    pub(crate) fn check(&self, model: &str, deadline: Option<Span>) -> Result<(), AccessRefusal> {
        let Some(key) = &self.key else { return Ok(()) };
        let entry = &key.entry;
        if !entry.models.is_empty() && !entry.models.iter().any(|allowed| allowed == model) {
            let allowed = entry.models.join(", ");
            let said = format!("this key may use {allowed}, not `{model}`");
            return Err(AccessRefusal::NotAllowed { param: "model", said });
        }
        let limit = |what: &str, ms: f64| AccessRefusal::NotAllowed {
            param: "hedgerow.deadline_ms",
            said: format!("the {what} deadline of this key is {ms} ms"),
        };
        let deadline_ms = deadline.map(Span::as_millis);
        match (entry.deadline_ms_min, entry.deadline_ms_max) {
            (Some(least), _) if deadline_ms.is_some_and(|ms| ms < least) => Err(limit("shortest", least)),
            // Without a deadline it would be later than any.
            (_, Some(most)) if deadline_ms.is_none_or(|ms| ms > most) => Err(limit("longest", most)),
            _ => Ok(()),
        }
    }

    /// Charges tokens, prompt or output, to the key's budget.
    pub(crate) fn charge(&self, tokens: Tokens) {
        if let Some(key) = &self.key {
            key.usage.charge(&key.entry, tokens, key.now());
        }
    }
}

impl CallerKey {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Drop for CallerKey {
    fn drop(&mut self) {
        self.usage.end();
    }
}
