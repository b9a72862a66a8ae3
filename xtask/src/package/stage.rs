//! The tree of installed files, created once for all kinds of packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::portable::Portable;
use super::{Release, files, third_party};
use crate::shell::{Failure, Shell};

/// The tree below `/`.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) root: PathBuf,
}

impl Stage {
    /// The folder of the program, its libraries and the variants: the program looks for variants in its own folder.
    pub(super) fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/hedgerow")
    }

    /// The folder of the documents.
    pub(super) fn documents(&self) -> PathBuf {
        self.root.join("usr/share/doc/hedgerow")
    }
}

/// Creates the tree.
pub(super) fn lay_out(shell: &Shell, release: &Release, build: &Portable) -> Result<Stage, Failure> {
    // dpkg-shlibdeps expects the tree of the package hedgerow under this name.
    let stage = Stage { root: release.work.join("debian/hedgerow") };
    super::fresh_folder(&stage.root)?;
    put_programs(shell, &stage, build)?;
    put_generated_files(shell, &stage)?;
    put_service(shell, &stage)?;
    put_documents(shell, release, &stage)?;
    let programs = stage.libraries().join("hedgerow");
    files::set_modes(&stage.root, &|path| path == programs)?;
    Ok(stage)
}

/// Copies the program and its libraries, stripped of debug symbols.
fn put_programs(shell: &Shell, stage: &Stage, build: &Portable) -> Result<(), Failure> {
    let folder = stage.libraries();
    let program = folder.join("hedgerow");
    files::copy(&build.program, &program)?;
    let mut copies = vec![program];
    for library in &build.libraries {
        let copy = folder.join(files::name_of(library));
        files::copy(library, &copy)?;
        copies.push(copy);
    }
    let mut strip = shell.program("strip");
    shell.run_quietly(strip.args(["--strip-unneeded", "--remove-section=.comment"]).args(&copies))?;
    let link = stage.root.join("usr/bin/hedgerow");
    files::create_folder(&stage.root.join("usr/bin"))?;
    symlink("../lib/hedgerow/hedgerow", &link).map_err(files::failed("linking", &link))
}

/// Writes manual pages and completions, which the program generates.
fn put_generated_files(shell: &Shell, stage: &Stage) -> Result<(), Failure> {
    let program = stage.libraries().join("hedgerow");
    let share = stage.root.join("usr/share");
    let pages = share.join("man/man1");
    shell.run_quietly(shell.program(&program).arg("man").arg("--out").arg(&pages))?;
    for page in files::entries(&pages)? {
        files::gzip(shell, &page)?;
    }
    let scripts = [
        ("bash", "bash-completion/completions/hedgerow"),
        ("zsh", "zsh/vendor-completions/_hedgerow"),
        ("fish", "fish/vendor_completions.d/hedgerow.fish"),
    ];
    for (of_shell, place) in scripts {
        let output = shell.run_quietly(shell.program(&program).args(["completions", of_shell]))?;
        files::write(&share.join(place), output.stdout)?;
    }
    Ok(())
}

fn put_service(shell: &Shell, stage: &Stage) -> Result<(), Failure> {
    let places = [
        ("packaging/hedgerow.service", "lib/systemd/system/hedgerow.service"),
        ("packaging/hedgerow.sysusers", "usr/lib/sysusers.d/hedgerow.conf"),
        ("packaging/hedgerow.toml", "etc/hedgerow/hedgerow.toml"),
    ];
    for (from, to) in places {
        files::copy_ours(shell, from, &stage.root.join(to))?;
    }
    Ok(())
}

fn put_documents(shell: &Shell, release: &Release, stage: &Stage) -> Result<(), Failure> {
    let folder = stage.documents();
    let places = [
        ("docs/guides/packages.md", "packages.md"),
        ("docs/guides/operating.md", "operating.md"),
        ("config/default.toml", "default.toml"),
        ("CHANGELOG.md", "changelog"),
    ];
    for (from, to) in places {
        files::copy_ours(shell, from, &folder.join(to))?;
    }
    for example in files::entries(&shell.root().join("packaging/examples"))? {
        files::copy(&example, &folder.join("examples").join(files::name_of(&example)))?;
    }
    let copyright = files::read(&shell.root().join("packaging/debian/copyright"))?;
    files::write(
        &folder.join("copyright"),
        files::fill(&copyright, &[("UPSTREAM_VERSION", release.version)]),
    )?;
    files::write(&folder.join("THIRD-PARTY"), third_party::text(shell)?)?;
    for compressed in ["changelog", "THIRD-PARTY"] {
        files::gzip(shell, &folder.join(compressed))?;
    }
    Ok(())
}

/// The size of the tree in KiB with each file rounded up, like Debian's `Installed-Size`.
pub(super) fn installed_kib(root: &Path) -> Result<u64, Failure> {
    let sizes = files::below(root)?;
    Ok(sizes
        .iter()
        .filter_map(|path| fs::symlink_metadata(path).ok())
        .map(|found| found.len().div_ceil(1024))
        .sum())
}
