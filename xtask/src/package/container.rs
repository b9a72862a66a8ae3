//! The context of `podman build` or `docker build`: a folder with a Containerfile and the .deb that it installs.

use std::path::{Path, PathBuf};

use super::{Release, files};
use crate::shell::{Failure, Shell};

/// Creates the folder `container` with the .deb and the Containerfile.
pub(super) fn make(shell: &Shell, release: &Release, package: &Path) -> Result<PathBuf, Failure> {
    let folder = release.out.join("container");
    super::fresh_folder(&folder)?;
    files::copy(package, &folder.join("hedgerow.deb"))?;
    files::copy_ours(shell, "packaging/container/Containerfile", &folder.join("Containerfile"))?;
    Ok(folder)
}
