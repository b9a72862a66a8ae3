//! `cargo xtask package`: a .deb, an archive with an install script, and what a container is built from, all of one
//! portable build.
//!
//! Read [`make`] first. The .deb is made by `dpkg-deb` from the tree that `stage` lays out and that the archive holds
//! as well: with cargo-deb there would be a second description of the same files, which would have to name each CPU
//! variant, and another program to compile.

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
    /// For Debian and its relatives.
    Deb,
    /// For any Linux.
    Tar,
    /// A folder for `podman build`; holds a .deb.
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

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    kinds: Vec<Kind>,
    out: PathBuf,
}

impl Options {
    /// Reads `[--only KIND]... [--out DIR]`.
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

/// What all packages of one run share.
#[derive(Debug)]
pub(crate) struct Release {
    /// The version in `Cargo.toml`.
    version: &'static str,
    /// Seconds since 1970 that every file in a package is dated with, so that the same sources give the same bytes.
    epoch: u64,
    /// Where intermediate files lie.
    work: PathBuf,
    /// Where packages go.
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

/// Makes the packages and says where each one is.
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

/// Empties a folder, or makes it.
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
    fn all_kinds_are_made_unless_some_are_named() {
        assert_eq!(parse(&[]).unwrap().kinds, Kind::ALL);
        let options = parse(&["--only", "tar", "--only", "deb", "--out", "/tmp/x"]).unwrap();
        assert_eq!(options, Options { kinds: vec![Kind::Tar, Kind::Deb], out: "/tmp/x".into() });
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones() {
        let text = parse(&["--only", "rpm"]).unwrap_err().to_string();
        assert!(text.contains("take one of: deb, tar, container-context"), "{text}");
        assert!(parse(&["--only"]).unwrap_err().to_string().contains("lacks its value"));
        assert!(parse(&["--kind", "deb"]).unwrap_err().to_string().contains("no option `--kind`"));
    }
}
