//! The archive: the same tree in its own folder, with a script that installs it under any prefix.

use std::path::{Path, PathBuf};

use super::stage::Stage;
use super::{Release, files};
use crate::shell::{Failure, Shell};

/// Writes `hedgerow-VERSION-ARCHITECTURE-linux.tar.gz`; every system can unpack gzip.
pub(super) fn make(shell: &Shell, release: &Release, stage: &Stage) -> Result<PathBuf, Failure> {
    let target = format!("{}-linux", std::env::consts::ARCH);
    let name = format!("hedgerow-{}-{target}", release.version);
    let above = release.work.join("tar");
    super::fresh_folder(&above)?;
    let folder = above.join(&name);
    files::create_folder(&folder)?;
    for part in ["bin", "lib", "share"] {
        shell
            .run_quietly(shell.program("cp").arg("-a").arg(stage.root.join("usr").join(part)).arg(&folder))?;
    }
    // The script creates the service's user, because no package manager does.
    std::fs::remove_dir_all(folder.join("lib/sysusers.d")).map_err(files::failed("removing", &folder))?;
    files::copy_ours(shell, "packaging/hedgerow.service", &folder.join("service/hedgerow.service"))?;
    files::copy_ours(shell, "packaging/hedgerow.toml", &folder.join("service/hedgerow.toml"))?;
    files::copy_ours(shell, "packaging/tarball/install.sh", &folder.join("install.sh"))?;
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        files::copy_ours(shell, license, &folder.join(license))?;
    }
    let glibc = newest_glibc(shell, stage)?;
    let readme = files::read(&shell.root().join("packaging/tarball/README.md"))?;
    let values = [("VERSION", release.version), ("TARGET", target.as_str()), ("GLIBC", glibc.as_str())];
    files::write(&folder.join("README.md"), files::fill(&readme, &values))?;
    put_checksums(shell, &folder)?;
    let programs = [folder.join("install.sh"), folder.join("lib/hedgerow/hedgerow")];
    files::set_modes(&folder, &|path| programs.iter().any(|program| program == path))?;
    pack(shell, release, &above, &name)
}

/// Writes SHA256SUMS with all files of the archive, for `sha256sum --check`.
fn put_checksums(shell: &Shell, folder: &Path) -> Result<(), Failure> {
    let mut sums = shell.program("sha256sum");
    sums.current_dir(folder);
    for path in files::below(folder)? {
        if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            sums.arg(path.strip_prefix(folder).expect("it lies below"));
        }
    }
    let output = shell.run_quietly(&mut sums)?;
    files::write(&folder.join("SHA256SUMS"), output.stdout)
}

/// Packs the archive reproducibly: sorted names, one date, numeric owners.
fn pack(shell: &Shell, release: &Release, above: &Path, name: &str) -> Result<PathBuf, Failure> {
    let archive = above.join(format!("{name}.tar"));
    let mut tar = shell.program("tar");
    tar.args(["--create", "--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", release.epoch)).arg("--file").arg(&archive);
    shell.run_quietly(tar.arg("--directory").arg(above).arg(name))?;
    files::gzip(shell, &archive)?;
    let package = release.out.join(format!("{name}.tar.gz"));
    files::copy(&above.join(format!("{name}.tar.gz")), &package)?;
    Ok(package)
}

/// The newest glibc version whose symbols the programs use: the minimum for a machine.
fn newest_glibc(shell: &Shell, stage: &Stage) -> Result<String, Failure> {
    let mut objdump = shell.program("objdump");
    let output = shell.run_quietly(objdump.arg("-T").args(files::entries(&stage.libraries())?))?;
    newest_version(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
        Failure::new("objdump finds no symbol of glibc in the program", "build for a target with glibc")
    })
}

/// The highest `GLIBC_x.y` of a text.
fn newest_version(text: &str) -> Option<String> {
    let versions = text.split("GLIBC_").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        rest[..end].split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u32>>()
    });
    let newest = versions.filter(|version| !version.is_empty()).max()?;
    Some(newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let text = "0000 (GLIBC_2.9) a\n0000 (GLIBC_2.34) b\n0000 (GLIBC_2.2.5) c\n0000 (GLIBC_PRIVATE) d\n";
        assert_eq!(newest_version(text).as_deref(), Some("2.34"));
        assert_eq!(newest_version("no symbols"), None);
    }
}
