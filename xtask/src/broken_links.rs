//! Links that lead nowhere in the target folder.
//!
//! The binding's build script links llama.cpp's shared libraries into the target folder, and with them links whose
//! goals stay behind. When it runs once more, it takes such a link for a missing file, makes it again and fails with
//! "File exists".

use std::fs;
use std::path::Path;

/// Where the build script puts libraries, below the folder of the release profile.
const FOLDERS: [&str; 3] = ["", "deps", "examples"];

/// Removes the links below a profile's folder that lead nowhere. A link that cannot be removed is left to the build to
/// report.
pub(crate) fn remove(release: &Path) {
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(release.join(folder)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_symlink() && !path.exists() {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_removed_and_others_stay() {
        let release = std::env::temp_dir().join(format!("xtask-broken-links-{}", std::process::id()));
        let deps = release.join("deps");
        fs::create_dir_all(&deps).unwrap();
        fs::write(deps.join("liba.so.0"), "").unwrap();
        std::os::unix::fs::symlink("liba.so.0", deps.join("liba.so")).unwrap();
        std::os::unix::fs::symlink("libb.so.0", deps.join("libb.so")).unwrap();
        remove(&release);
        let left = |name: &str| deps.join(name).is_symlink();
        assert_eq!((left("liba.so"), left("libb.so"), deps.join("liba.so.0").exists()), (true, false, true));
        fs::remove_dir_all(release).unwrap();
    }
}
