//! Fetches models of the Hugging Face hub.
//!
//! The hub's own Rust client was evaluated first. Version 1.0.0 restarts an interrupted download from the beginning,
//! verifies no checksums, and doubles the compile time of this program. Only one listing and one address of the hub's
//! interface are needed, so they are implemented here.

use std::path::PathBuf;

use serde::Deserialize;

use super::download::Download;
use super::http::{Client, Route, shown};
use super::hub_cache::{CachedFile, Repository};
use super::{FetchOptions, FetchedModel, ModelError, Report, store};

/// The hub's description of a repository.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<ListedFile>,
}

#[derive(Deserialize)]
struct ListedFile {
    rfilename: String,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
}

/// Fetches a GGUF file of a repository unless it is in the hub's cache.
///
/// A cached file is used as it is, without checking whether the repository has changed since; [`FetchOptions::force`]
/// checks.
pub(super) fn fetch(
    repo: &str,
    quant: Option<&str>,
    file: Option<&str>,
    options: &FetchOptions,
    report: Report<'_>,
) -> Result<FetchedModel, ModelError> {
    let cache = Repository::new(&options.hub_cache, repo);
    let wish = Wish { repo, quant, file };
    if !options.force
        && let Some(found) = wish.in_cache(cache.gguf_files())
    {
        is_sound(&found, options, report)?;
        let origin = format!("{}/{repo}, {}", shown(&options.hub_endpoint), found.name);
        return wish.fetched(found, origin, true);
    }
    if options.offline || options.hub_offline {
        return Err(ModelError::Offline { model: wish.name(), looked_in: options.hub_cache.clone() });
    }
    let client = Client::new(&Route::default())?;
    let listing = list(&client, repo, options)?;
    let chosen = wish.choose(&listing)?;
    let url = format!("{}/{repo}/resolve/{}/{}", options.hub_endpoint, listing.sha, chosen.rfilename);
    let (path, sha256) = download(&client, &cache, &listing, chosen, &url, options, report)?;
    let found = CachedFile { name: chosen.rfilename.clone(), path, sha256: Some(sha256) };
    wish.fetched(found, shown(&url), false)
}

/// Verifies a cached file's checksum if requested. Otherwise its presence is enough: tools that share the cache put a
/// file in place only when it is complete, and its name there is its checksum.
fn is_sound(found: &CachedFile, options: &FetchOptions, report: Report<'_>) -> Result<(), ModelError> {
    let Some(expected) = found.sha256.as_ref().filter(|_| options.verify) else { return Ok(()) };
    let actual = store::sha256_of(&found.path, report)?;
    if actual == *expected {
        return Ok(());
    }
    Err(ModelError::WrongChecksum { path: found.path.clone(), expected: expected.clone(), actual })
}

/// Requests the current listing of the repository.
fn list(client: &Client, repo: &str, options: &FetchOptions) -> Result<Listing, ModelError> {
    let url = format!("{}/api/models/{repo}/revision/main?blobs=true", options.hub_endpoint);
    let text = match client.page(&url, &authorization(options)) {
        Ok((_, text)) => text,
        // The hub returns 401 for a repository that does not exist, so as not to reveal which private ones do.
        Err(ModelError::HttpStatus { status: 401 | 404, .. }) => {
            let endpoint = shown(&options.hub_endpoint);
            return Err(ModelError::RepositoryNotFound { repo: repo.to_owned(), endpoint });
        }
        Err(error) => return Err(error),
    };
    let bad = |detail: String| ModelError::BadReply { url: shown(&url), detail };
    let listing: Listing = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    // Both become parts of paths here.
    let is_commit = !listing.sha.is_empty() && listing.sha.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_safe = |file: &ListedFile| {
        let stays_inside =
            file.rfilename.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        let hash = file.lfs.as_ref().map_or("", |large| &large.sha256);
        stays_inside && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if !is_commit || !listing.siblings.iter().all(is_safe) {
        return Err(bad("a name that is no name".to_owned()));
    }
    Ok(listing)
}

/// Downloads the file into the hub's cache; returns its path and checksum.
fn download(
    client: &Client,
    cache: &Repository,
    listing: &Listing,
    chosen: &ListedFile,
    url: &str,
    options: &FetchOptions,
    report: Report<'_>,
) -> Result<(PathBuf, String), ModelError> {
    let expected = chosen.lfs.as_ref().map(|large| large.sha256.as_str());
    let name = expected.map_or_else(|| chosen.rfilename.replace('/', "--"), str::to_owned);
    cache.prepare()?;
    let _lock = store::lock(&cache.lock_path(&name))?;
    // Another process may have fetched the file while this one waited for the lock.
    let is_here = expected.is_some() && !options.force && cache.blob(&name).is_file();
    let sha256 = if is_here {
        name
    } else {
        let partial = cache.incomplete(&name);
        let download = Download {
            url,
            headers: authorization(options),
            title: &chosen.rfilename,
            partial: &partial,
            sha256: expected,
        };
        let sha256 = download.run(client, options, report)?;
        store::put(&partial, &cache.blob(&sha256))?;
        sha256
    };
    let path = cache.show(&listing.sha, &chosen.rfilename, &sha256)?;
    Ok((path, sha256))
}

fn authorization(options: &FetchOptions) -> Vec<(&'static str, String)> {
    options.hub_token.iter().map(|token| ("authorization", format!("Bearer {token}"))).collect()
}

/// The requested file of a repository.
struct Wish<'a> {
    repo: &'a str,
    quant: Option<&'a str>,
    file: Option<&'a str>,
}

impl Wish<'_> {
    /// Returns the only matching file of the cache; with several or none the hub must be queried.
    fn in_cache(&self, files: Vec<CachedFile>) -> Option<CachedFile> {
        let mut fitting = files.into_iter().filter(|file| self.fits(&file.name));
        let first = fitting.next()?;
        // Without a quantization, the only cached file need not be the repository's only one, but an earlier pull
        // selected it.
        fitting.next().is_none().then_some(first)
    }

    /// Returns the only matching file of the listing.
    fn choose<'l>(&self, listing: &'l Listing) -> Result<&'l ListedFile, ModelError> {
        let repo = self.repo.to_owned();
        let files: Vec<&ListedFile> =
            listing.siblings.iter().filter(|file| is_model(&file.rfilename)).collect();
        let names =
            |files: &[&ListedFile]| files.iter().map(|file| file.rfilename.clone()).collect::<Vec<_>>();
        if files.is_empty() {
            return Err(ModelError::NoGgufInRepository { repo });
        }
        let fitting: Vec<&ListedFile> =
            files.iter().copied().filter(|file| self.fits(&file.rfilename)).collect();
        match fitting[..] {
            [one] if is_part(&one.rfilename) => Err(ModelError::SplitModel { file: one.rfilename.clone() }),
            [one] => Ok(one),
            [] => {
                let wanted = self.file.or(self.quant).unwrap_or("any").to_owned();
                Err(ModelError::NoSuchFile { repo, wanted, available: names(&files) })
            }
            [first, ..] if fitting.iter().all(|file| is_part(&file.rfilename)) => {
                Err(ModelError::SplitModel { file: first.rfilename.clone() })
            }
            [..] => Err(ModelError::AmbiguousFile { repo, available: names(&fitting) }),
        }
    }

    fn fits(&self, name: &str) -> bool {
        match (self.file, self.quant) {
            (Some(file), _) => name == file,
            (None, Some(quant)) => is_model(name) && has_quant(name, quant),
            (None, None) => is_model(name),
        }
    }

    fn name(&self) -> String {
        match (self.file, self.quant) {
            (Some(file), _) => format!("{}/{file}", self.repo),
            (None, Some(quant)) => format!("{}:{quant}", self.repo),
            (None, None) => self.repo.to_owned(),
        }
    }

    fn fetched(
        &self,
        found: CachedFile,
        origin: String,
        from_cache: bool,
    ) -> Result<FetchedModel, ModelError> {
        let bytes = std::fs::metadata(&found.path).map_err(ModelError::io("reading", &found.path))?.len();
        let CachedFile { path, sha256, .. } = found;
        Ok(FetchedModel { name: self.name(), path, bytes, sha256, from_cache, origin })
    }
}

/// Whether the file is a language model, and not the projector that some repositories contain as well.
fn is_model(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let file = lower.rsplit('/').next().unwrap_or(&lower);
    file.ends_with(".gguf") && !file.starts_with("mmproj")
}

/// Whether the name ends in this quantization, or is in its folder: `tiny-Q4_K_M.gguf` has `q4_k_m`, but neither
/// `K_M` nor `Q4_K`.
fn has_quant(name: &str, quant: &str) -> bool {
    let (name, quant) = (name.to_ascii_lowercase(), quant.to_ascii_lowercase());
    let stem = name.strip_suffix(".gguf").unwrap_or(&name);
    let stem = stem.split_once("-00001-of-").map_or(stem, |(before, _)| before);
    let before = stem.strip_suffix(quant.as_str());
    let is_whole_word = before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', '/']));
    is_whole_word || name.split('/').rev().skip(1).any(|folder| folder == quant)
}

/// Whether the file is one of several parts of a model.
fn is_part(name: &str) -> bool {
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((before, count)) = stem.rsplit_once("-of-") else { return false };
    is_number(count) && before.rsplit_once('-').is_some_and(|(_, index)| is_number(index))
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
