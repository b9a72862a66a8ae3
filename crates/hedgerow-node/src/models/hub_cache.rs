//! The hub's cache on disk, in the layout shared by all tools of that hub.
//!
//! ```text
//! models--org--name/refs/main                       the commit that `main` was
//! models--org--name/blobs/<checksum>                the bytes
//! models--org--name/snapshots/<commit>/<file>       a link to them, under their name
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{ModelError, store};

/// The cache folder of one repository.
pub(super) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

/// A cached file, as listed in a snapshot.
#[derive(Debug, PartialEq)]
pub(super) struct CachedFile {
    /// Its path in the repository.
    pub(super) name: String,
    /// Its path on this machine.
    pub(super) path: PathBuf,
    /// Its checksum, where the blob's name is one: files outside large-file storage are named differently.
    pub(super) sha256: Option<String>,
}

impl Repository {
    /// Returns the cache folder of `org/name`, which need not exist.
    pub(super) fn new(cache: &Path, repo: &str) -> Repository {
        let name = format!("models--{}", repo.replace('/', "--"));
        Repository { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// Lists the files of the newest snapshot that end in `.gguf`, sorted by name.
    pub(super) fn gguf_files(&self) -> Vec<CachedFile> {
        let Ok(commit) = fs::read_to_string(self.folder.join("refs/main")) else { return Vec::new() };
        let snapshot = self.folder.join("snapshots").join(commit.trim());
        let mut files = Vec::new();
        let mut folders = vec![snapshot.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.extension() == Some("gguf".as_ref()) && path.is_file() {
                    files.extend(cached_file(&snapshot, path));
                }
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// Path of the blob with this name.
    pub(super) fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    /// Path of an incomplete blob; any tool can resume it.
    pub(super) fn incomplete(&self, name: &str) -> PathBuf {
        store::with_suffix(&self.blob(name), ".incomplete")
    }

    /// Path of the file that a tool locks while it fetches this blob.
    pub(super) fn lock_path(&self, name: &str) -> PathBuf {
        self.locks.join(format!("{name}.lock"))
    }

    /// Creates the folder for blobs.
    pub(super) fn prepare(&self) -> Result<(), ModelError> {
        store::create_folder(&self.folder.join("blobs"))
    }

    /// Links a blob into a snapshot under the file's name, and makes that snapshot the newest.
    pub(super) fn show(&self, commit: &str, file: &str, blob: &str) -> Result<PathBuf, ModelError> {
        let path = self.folder.join("snapshots").join(commit).join(file);
        store::create_folder(path.parent().unwrap_or(&path))?;
        // Two levels up to the repository's folder, and one more for each folder in the file's own path.
        let up = "../".repeat(2 + file.matches('/').count());
        store::remove(&path)?;
        symlink(format!("{up}blobs/{blob}"), &path).map_err(ModelError::io("linking", &path))?;
        let refs = self.folder.join("refs");
        store::create_folder(&refs)?;
        let main = refs.join("main");
        fs::write(&main, commit).map_err(ModelError::io("writing", &main))?;
        Ok(path)
    }
}

fn cached_file(snapshot: &Path, path: PathBuf) -> Option<CachedFile> {
    let name = path.strip_prefix(snapshot).ok()?.to_str()?.to_owned();
    let target = fs::read_link(&path).ok();
    let blob = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let is_sha256 = |name: &&str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(CachedFile { sha256: blob.filter(is_sha256).map(str::to_owned), name, path })
}
