//! What `podman build` or `docker build` takes: a folder with a Containerfile and the .deb that it installs.

use std::path::PathBuf;

use super::stage::Stage;
use super::{Release, deb, files};
use crate::shell::{Failure, Shell};

/// Fills the folder `container`.
pub(super) fn make(shell: &Shell, release: &Release, stage: &Stage) -> Result<PathBuf, Failure> {
    let folder = release.out.join("container");
    super::fresh_folder(&folder)?;
    let package = deb::make(shell, release, stage)?;
    files::copy(&package, &folder.join("hedgerow.deb"))?;
    files::copy_ours(shell, "packaging/container/Containerfile", &folder.join("Containerfile"))?;
    Ok(folder)
}
