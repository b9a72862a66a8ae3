//! The step `package`: builds the packages and tests them.
//!
//! Read [`run`] first. Everything is installed into a Debian system in a folder (`rootfs.rs`), never on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::rootfs::Rootfs;
use super::{Kind, Options, Release, files, make};
use crate::install::{self, Apt};
use crate::shell::{Failure, Shell};

/// Programs that the check calls, each with its Debian package.
const PROGRAMS: [(&str, &str); 7] = [
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("strip", "binutils"),
    ("lintian", "lintian"),
    ("debootstrap", "debootstrap"),
    ("systemd-analyze", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("unshare", "util-linux"),
];

/// Largest exposure in tenths; `systemd-analyze security` calls it "OK", and 10.0 is a unit without hardening.
const EXPOSURE_MAX_TENTHS: &str = "25";

/// Returns why packages cannot be tested on this machine, after installing missing programs if that is allowed.
pub(crate) fn cannot_check(shell: &Shell, apt: Apt) -> Option<String> {
    if !install::is_root(shell) {
        return Some("packages are tested in a system of their own, which needs root".to_owned());
    }
    if suite().is_none() {
        return Some("packages are tested on Debian, which this machine does not run".to_owned());
    }
    let missing = missing_packages();
    if missing.is_empty() {
        return None;
    }
    if apt == Apt::IfRoot
        && let Err(failure) = install::packages(shell, &missing)
    {
        println!("{failure}");
    }
    let missing = missing_packages();
    (!missing.is_empty()).then(|| format!("these packages are missing: {}", missing.join(" ")))
}

fn missing_packages() -> Vec<&'static str> {
    let folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let is_here = |program: &str| folders.iter().any(|folder| folder.join(program).exists());
    PROGRAMS.iter().filter(|(program, _)| !is_here(program)).map(|(_, package)| *package).collect()
}

/// The Debian release of this machine, because packages built here need its libraries.
fn suite() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME")).flatten()
}

/// Builds all packages twice, checks their contents, and installs, uses and removes them.
pub(crate) fn run(shell: &Shell, apt: Apt) -> Result<(), Failure> {
    let out = PathBuf::from("target/package");
    let made = make(shell.clone(), apt, &Options { kinds: Kind::ALL.to_vec(), out: out.clone() })?;
    let [deb, tar, container] = made.as_slice() else { unreachable!("one package of each kind") };
    let release = Release::of(shell, &out)?;
    same_bytes_again(shell, apt, &release, &[deb, tar])?;
    lint(shell, deb)?;
    exposure(shell)?;
    let suite = suite().ok_or_else(|| Failure::new("this is not Debian", "run the step on Debian"))?;
    let model = model(shell, &release)?;
    let run_sh = shell.root().join("packaging/check/run.sh");
    let containerfile = container.join("Containerfile");
    let inputs: [(&Path, &str); 5] = [
        (&run_sh, "check/run.sh"),
        (&containerfile, "check/Containerfile"),
        (deb, "check/hedgerow.deb"),
        (tar, "check/hedgerow.tar.gz"),
        (&model, "srv/model.gguf"),
    ];
    println!("package: without a service manager");
    Rootfs::new(shell, &release.work, &suite, &inputs)?.check_by_hand(shell)?;
    println!("package: with systemd");
    if !Rootfs::new(shell, &release.work, &suite, &inputs)?.check_with_systemd(shell)? {
        println!("NOT CHECKED here: starting, watching and upgrading by systemd");
    }
    Ok(())
}

/// Builds the packages again and compares them: the same sources must give the same bytes (reproducible build).
fn same_bytes_again(shell: &Shell, apt: Apt, release: &Release, made: &[&PathBuf]) -> Result<(), Failure> {
    let out = release.work.join("again");
    super::fresh_folder(&out)?;
    let again = make(shell.clone(), apt, &Options { kinds: vec![Kind::Deb, Kind::Tar], out })?;
    for (first, second) in made.iter().zip(&again) {
        let read = |path: &Path| fs::read(path).map_err(files::failed("reading", path));
        if read(first)? != read(second)? {
            return Err(Failure::new(
                format!("{} and {} differ, made of the same sources", first.display(), second.display()),
                "compare them with diffoscope",
            ));
        }
    }
    println!("package: the same bytes when made again");
    Ok(())
}

/// Runs lintian; packaging/debian/lintian-overrides gives the reasons for accepted findings.
fn lint(shell: &Shell, deb: &Path) -> Result<(), Failure> {
    let mut lintian = shell.program("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]);
    shell.run(lintian.arg(deb))?;
    println!("package: lintian finds nothing");
    Ok(())
}

/// Checks the exposure of the service with `systemd-analyze security`.
fn exposure(shell: &Shell) -> Result<(), Failure> {
    let mut analyze = shell.program("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX_TENTHS]);
    let output = shell.run_quietly(analyze.arg("packaging/hedgerow.service"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_default();
    println!("package: {}", line.trim_start_matches(|letter: char| !letter.is_ascii_alphabetic()));
    Ok(())
}

/// The path of the small model, which is fetched if missing.
fn model(shell: &Shell, release: &Release) -> Result<PathBuf, Failure> {
    let program = release.work.join("debian/hedgerow/usr/bin/hedgerow");
    let output = shell.run_quietly(shell.program(program).args(["pull", "--path-only"]))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
