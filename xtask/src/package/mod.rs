//! `cargo xtask package`: a .deb, an archive with an install script, and a container context, all from one portable
//! build.
//!
//! Read [`make`] first. `dpkg-deb` builds the .deb from the tree of `stage`, which the archive contains too:
//! cargo-deb would need a second description of the same files, with each CPU variant, and be another program to
//! compile.

pub(crate) mod check;
mod container;
mod deb;
pub(crate) mod files;
pub(crate) mod portable;
mod rootfs;
mod stage;
mod tarball;
mod third_party;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bootstrap::Bootstrap;
use crate::install::Apt;
use crate::shell::{Failure, Shell};

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Debian package.
    Deb,
    /// An archive for any Linux.
    Tar,
    /// A folder for `podman build`, with a .deb.
    ContainerContext,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Deb, Kind::Tar, Kind::ContainerContext];

    fn name(self) -> &'static str {
        match self {
            Kind::Deb => "deb",
            Kind::Tar => "tar",
            Kind::ContainerContext => "container-context",
        }
    }
}

/// The command line options.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    kinds: Vec<Kind>,
    out: PathBuf,
}

impl Options {
    /// Parses `[--only KIND]... [--out DIR]`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Options, Failure> {
        let mut options = Options { kinds: Vec::new(), out: PathBuf::from("target/package") };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| {
                Failure::new(format!("`{word}` is no option or lacks its value"), "run `cargo xtask help`")
            })?;
            match word.as_str() {
                "--only" => options.kinds.push(kind(value)?),
                "--out" => options.out = PathBuf::from(value),
                other => {
                    return Err(Failure::new(
                        format!("`package` has no option `{other}`"),
                        "run `cargo xtask help`",
                    ));
                }
            }
        }
        if options.kinds.is_empty() {
            options.kinds = Kind::ALL.to_vec();
        }
        Ok(options)
    }
}

fn kind(name: &str) -> Result<Kind, Failure> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        Failure::new(format!("no package is called `{name}`"), format!("take one of: {}", known.join(", ")))
    })
}

/// The common properties of all packages of a run.
#[derive(Debug)]
pub(crate) struct Release {
    /// The version in `Cargo.toml`.
    version: &'static str,
    /// The date of all files in a package in seconds since 1970, for reproducible builds.
    epoch: u64,
    /// The folder of intermediate files.
    work: PathBuf,
    /// The folder of the packages.
    out: PathBuf,
}

impl Release {
    fn of(shell: &Shell, out: &Path) -> Result<Release, Failure> {
        Ok(Release {
            version: env!("CARGO_PKG_VERSION"),
            epoch: source_date(shell)?,
            work: shell.root().join("target/package-work"),
            out: shell.root().join(out),
        })
    }
}

/// Builds the packages and prints and returns their paths.
pub(crate) fn make(shell: Shell, apt: Apt, options: &Options) -> Result<Vec<PathBuf>, Failure> {
    let ready = Bootstrap::new(&shell, apt).prepare()?;
    let shell = shell.with_environment(ready.variables);
    let release = Release::of(&shell, &options.out)?;
    let build = portable::build(&shell)?;
    let stage = stage::lay_out(&shell, &release, &build)?;
    files::create_folder(&release.out)?;
    let wants = |kind| options.kinds.contains(&kind);
    let mut made = Vec::new();
    if wants(Kind::Deb) {
        made.push(deb::make(&shell, &release, &stage, &release.out)?);
    }
    if wants(Kind::Tar) {
        made.push(tarball::make(&shell, &release, &stage)?);
    }
    if wants(Kind::ContainerContext) {
        let package = match made.first().filter(|_| wants(Kind::Deb)) {
            Some(package) => package.clone(),
            None => deb::make(&shell, &release, &stage, &release.work)?,
        };
        made.push(container::make(&shell, &release, &package)?);
    }
    for path in &made {
        println!("package: {}", path.display());
    }
    Ok(made)
}

/// `SOURCE_DATE_EPOCH`, or else the time of the latest commit.
fn source_date(shell: &Shell) -> Result<u64, Failure> {
    let unknown = |what: String| {
        Failure::new(what, "set SOURCE_DATE_EPOCH to the seconds since 1970 that files are to be dated with")
    };
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = shell.program("git");
            let output = shell
                .run_quietly(git.args(["log", "-1", "--format=%ct"]))
                .map_err(|_| unknown("git does not say when the latest commit was made".to_owned()))?;
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    text.trim().parse().map_err(|_| unknown(format!("`{}` is no number of seconds", text.trim())))
}

/// Creates an empty folder; removes an existing one first.
fn fresh_folder(folder: &Path) -> Result<(), Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(files::failed("removing", folder))?;
    }
    files::create_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Failure> {
        Options::parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn all_kinds_are_built_unless_some_are_named() {
        assert_eq!(parse(&[]).unwrap().kinds, Kind::ALL);
        let options = parse(&["--only", "tar", "--only", "deb", "--out", "/tmp/x"]).unwrap();
        assert_eq!(options, Options { kinds: vec![Kind::Tar, Kind::Deb], out: "/tmp/x".into() });
    }

    #[test]
    fn an_invalid_argument_gets_the_valid_ones() {
        let text = parse(&["--only", "rpm"]).unwrap_err().to_string();
        assert!(text.contains("take one of: deb, tar, container-context"), "{text}");
        assert!(parse(&["--only"]).unwrap_err().to_string().contains("lacks its value"));
        assert!(parse(&["--kind", "deb"]).unwrap_err().to_string().contains("no option `--kind`"));
    }
}
