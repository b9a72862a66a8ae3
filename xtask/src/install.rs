//! Installation of missing tools: Debian packages, or Python wheels with the same programs.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::detect::{Host, Need};
use crate::python::{self, Python};
use crate::shell::{Failure, Shell};

/// Whether apt-get may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apt {
    /// As root, if the program exists.
    IfRoot,
    /// Never.
    Never,
}

/// The wheels with cmake and libclang.
const TOOL_WHEELS: &[&str] = &["cmake==4.4.4", "libclang==18.1.1"];

/// The fetched wheels.
pub(crate) struct Wheels {
    folder: PathBuf,
}

impl Wheels {
    /// The wheels of an earlier run, if any.
    pub(crate) fn fetched_before(shell: &Shell) -> Option<Wheels> {
        python::fetched(shell, "tools", TOOL_WHEELS).map(|folder| Wheels { folder })
    }

    /// Fetches the wheels.
    pub(crate) fn fetch(shell: &Shell, python: &Python) -> Result<Wheels, Failure> {
        python.packages(shell, "tools", TOOL_WHEELS).map(|folder| Wheels { folder })
    }

    /// Whether the wheels contain a tool.
    pub(crate) fn hold(need: Need) -> bool {
        match need {
            Need::Cmake | Need::Libclang => true,
            Need::CxxCompiler | Need::Make | Need::Python => false,
        }
    }

    /// The folder of the cmake program itself, past the wheel's Python wrapper.
    pub(crate) fn cmake_folder(&self) -> PathBuf {
        self.folder.join("cmake/data/bin")
    }

    /// The folder of `libclang.so`.
    pub(crate) fn libclang_folder(&self) -> PathBuf {
        self.folder.join("clang/native")
    }
}

/// Whether this user may call apt-get.
pub(crate) fn apt_is_possible(shell: &Shell, host: &Host, apt: Apt) -> bool {
    match apt {
        Apt::Never => false,
        Apt::IfRoot => host.program("apt-get").is_some() && is_root(shell),
    }
}

/// Installs the Debian packages of tools.
pub(crate) fn with_apt(shell: &Shell, needs: &[Need]) -> Result<(), Failure> {
    packages(shell, &needs.iter().map(|need| need.debian_package()).collect::<Vec<_>>())
}

/// Installs Debian packages by name.
pub(crate) fn packages(shell: &Shell, packages: &[&str]) -> Result<(), Failure> {
    println!("bootstrap: apt-get update");
    // A failure here may be one broken source of many; only the installation below decides.
    if let Err(failure) = shell.run_quietly(apt_get(shell).arg("update")) {
        println!("bootstrap: apt-get update failed, going on with the lists that are here");
        drop(failure);
    }
    println!("bootstrap: apt-get install {}", packages.join(" "));
    shell
        .run_quietly(apt_get(shell).args(["install", "-y", "--no-install-recommends"]).args(packages))
        .map(drop)
}

/// The command line that installs the packages, for messages.
pub(crate) fn apt_line(needs: &[Need]) -> String {
    let packages: Vec<&str> = needs.iter().map(|need| need.debian_package()).collect();
    format!("apt-get install {}", packages.join(" "))
}

/// The folder of gcc's own headers, which libclang can use instead of clang's.
pub(crate) fn gcc_headers(shell: &Shell) -> Option<OsString> {
    let output = shell.run_quietly(shell.program("gcc").arg("-print-file-name=include")).ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let is_there = folder.is_absolute() && fs::metadata(folder.join("stddef.h")).is_ok();
    is_there.then(|| folder.into_os_string())
}

fn apt_get(shell: &Shell) -> std::process::Command {
    let mut command = shell.program("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // Waits if another installation holds the lock, and does not retry an unreachable mirror for minutes.
    command.args([
        "-o",
        "DPkg::Lock::Timeout=120",
        "-o",
        "Acquire::http::Timeout=20",
        "-o",
        "Acquire::Retries=1",
    ]);
    command
}

/// Whether this user is root.
pub(crate) fn is_root(shell: &Shell) -> bool {
    shell.run_quietly(shell.program("id").arg("-u")).is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
