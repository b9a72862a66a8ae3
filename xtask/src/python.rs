//! Python: the installed interpreter, and packages in the project's own folders.
//!
//! Packages go into a plain folder (`pip install --target`), not a virtual environment: Debian's python3 cannot
//! create one without another package, and a folder needs only pip.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::detect::Need;
use crate::shell::{Failure, Shell};

/// Packages that the tests import: the official client of the HTTP API, and another solver for comparison. Pinned for
/// reproducible runs.
const TEST_PACKAGES: &[&str] = &["openai==3.54.0", "ortools==9.15.6755"];

/// The interpreter behind `python3`.
pub(crate) struct Python {
    /// The interpreter itself, not a shim that looks for it.
    pub(crate) executable: PathBuf,
    /// The tag of compatible compiled packages, such as `cpython-311`.
    tag: String,
    /// Whether it can install packages.
    pub(crate) has_pip: bool,
}

impl Python {
    /// Queries `python3`; `None` if there is none that runs.
    pub(crate) fn find(shell: &Shell) -> Option<Python> {
        const ASK: &str = "import sys, importlib.util as u\n\
            print(sys.executable); print(sys.implementation.cache_tag); print(u.find_spec('pip') is not None)";
        let output = shell.run_quietly(shell.program("python3").args(["-c", ASK])).ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut lines = text.lines();
        Some(Python {
            executable: PathBuf::from(lines.next()?),
            tag: lines.next()?.to_owned(),
            has_pip: lines.next()? == "True",
        })
    }

    /// The folder with these packages, which are fetched if missing.
    ///
    /// The folder's name contains the interpreter's version, and a file in it the packages' versions: if either
    /// changes, the packages are fetched again.
    pub(crate) fn packages(&self, shell: &Shell, name: &str, wanted: &[&str]) -> Result<PathBuf, Failure> {
        let folder = shell.cache().join(format!("{name}-{}", self.tag));
        if is_filled(&folder, wanted) {
            return Ok(folder);
        }
        if !self.has_pip {
            return Err(Failure::new(
                format!(
                    "{} has no pip, so {} cannot be fetched",
                    self.executable.display(),
                    wanted.join(", ")
                ),
                format!("as root: apt-get install {}", Need::Python.debian_package()),
            ));
        }
        println!(
            "bootstrap: fetching the Python packages {} into {}",
            wanted.join(", "),
            shown(shell, &folder)
        );
        let partial = shell.cache().join(format!("{name}-{}.partial-{}", self.tag, std::process::id()));
        remove(&partial)?;
        let mut pip = shell.program(&self.executable);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        pip.arg("--target").arg(&partial).args(wanted);
        pip.env("PIP_USER", "0"); // A user's configuration may set it, and then `--target` fails.
        shell.run_quietly(&mut pip)?;
        let written = fs::write(partial.join("fetched.txt"), record(wanted)).and_then(|()| {
            // Another run may have filled the folder in the meantime with the same packages.
            if is_filled(&folder, wanted) { Ok(()) } else { replace(&partial, &folder) }
        });
        written.map_err(|error| {
            Failure::new(
                format!("writing {}: {error}", folder.display()),
                "make room there, or fix its owner",
            )
        })?;
        remove(&partial)?;
        Ok(folder)
    }

    /// Writes a `python3` wrapper that can import the packages of the tests.
    pub(crate) fn for_tests(&self, shell: &Shell) -> Result<OsString, Failure> {
        let folder = self.packages(shell, "test-packages", TEST_PACKAGES)?;
        let program = folder.join("python3");
        let text = format!(
            "#!/bin/sh\n# Python with the packages beside this file. Written by `cargo xtask test`.\n\
             PYTHONPATH={} exec {} -s \"$@\"\n",
            quoted(&folder),
            quoted(&self.executable)
        );
        if fs::read_to_string(&program).is_ok_and(|old| old == text) {
            return Ok(program.into());
        }
        write_program(&program, &text).map_err(|error| {
            Failure::new(
                format!("writing {}: {error}", program.display()),
                "make room there, or fix its owner",
            )
        })?;
        Ok(program.into())
    }
}

/// The folder of the packages of [`Python::packages`], if any interpreter's folder has them.
pub(crate) fn fetched(shell: &Shell, name: &str, wanted: &[&str]) -> Option<PathBuf> {
    let entries = fs::read_dir(shell.cache()).ok()?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.into_iter().find(|folder| {
        let file_name = folder.file_name().unwrap_or_default().to_string_lossy();
        file_name.starts_with(&format!("{name}-")) && is_filled(folder, wanted)
    })
}

fn is_filled(folder: &Path, wanted: &[&str]) -> bool {
    fs::read_to_string(folder.join("fetched.txt")).is_ok_and(|text| text == record(wanted))
}

fn record(wanted: &[&str]) -> String {
    wanted.join("\n") + "\n"
}

fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::rename(from, to)
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("removing {}: {error}", folder.display()), "remove it by hand"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_program(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Written to another file and renamed, so that a running test keeps the old file.
    let partial = path.with_extension("partial");
    fs::write(&partial, text)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::rename(partial, path)
}

/// Quotes a path for a shell script.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn shown(shell: &Shell, path: &Path) -> String {
    path.strip_prefix(shell.root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_counts_as_filled_only_with_the_wanted_versions() {
        let folder = std::env::temp_dir().join(format!("xtask-python-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!is_filled(&folder, &["cmake==1"]));
        fs::write(folder.join("fetched.txt"), record(&["cmake==1"])).unwrap();
        assert!(is_filled(&folder, &["cmake==1"]));
        assert!(!is_filled(&folder, &["cmake==2"]));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
    }
}
