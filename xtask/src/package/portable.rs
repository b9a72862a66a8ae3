//! The build that packages hold: one program for every CPU of its architecture, with llama.cpp's libraries beside it.

use std::path::{Path, PathBuf};

use super::files;
use crate::shell::{Failure, Shell};
use crate::{progress, steps};

/// What the build left.
#[derive(Debug)]
pub(crate) struct Portable {
    /// The server's program.
    pub(crate) program: PathBuf,
    /// The libraries that it is linked with, and the variants of ggml's arithmetic, one of which it loads.
    pub(crate) libraries: Vec<PathBuf>,
}

/// Builds it beside the machine's own build, with which it shares all but llama.cpp, and puts that one's program back.
pub(crate) fn build(shell: &Shell) -> Result<Portable, Failure> {
    println!(
        "package: building for every CPU (the first time compiles llama.cpp in all its variants: minutes)"
    );
    let arguments = [steps::BUILD_SERVER, &["--features", "portable"]].concat();
    progress::build(shell, &arguments)?;
    let built = PathBuf::from(shell.hedgerow()?.get_program());
    let program = shell.root().join("target/portable/hedgerow");
    files::copy(&built, &program)?;
    let builds = built.with_file_name("build");
    let libraries = libraries(&builds)?;
    progress::build(shell, steps::BUILD_SERVER)?;
    Ok(Portable { program, libraries })
}

/// The libraries and the variants of the latest portable build of llama.cpp: builds with other settings leave folders
/// of their own.
pub(crate) fn libraries(builds: &Path) -> Result<Vec<PathBuf>, Failure> {
    let variants = |folder: &PathBuf| folder.join("out/backends");
    let modified = |folder: &PathBuf| variants(folder).metadata().and_then(|found| found.modified()).ok();
    let latest = files::entries(builds)?
        .into_iter()
        .filter(|folder| files::name_of(folder).starts_with("llama-cpp-sys-2-") && variants(folder).is_dir())
        .max_by_key(modified);
    let Some(folder) = latest else { return expect_some(Vec::new(), "libggml-cpu-*.so", builds) };
    let mut found = Vec::new();
    for (part, start) in [("out/lib", "lib"), ("out/backends", "libggml-cpu-")] {
        let is_library = |path: &PathBuf| {
            let name = files::name_of(path);
            name.starts_with(start) && name.contains(".so")
        };
        let folder = folder.join(part);
        let these = files::entries(&folder)?.into_iter().filter(is_library).collect();
        found.extend(expect_some(these, &format!("{start}*.so"), &folder)?);
    }
    Ok(found)
}

fn expect_some(found: Vec<PathBuf>, what: &str, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if found.is_empty() {
        return Err(Failure::new(
            format!("the build left no {what} in {}", folder.display()),
            "run `cargo clean --release -p llama-cpp-sys-2` and build again",
        ));
    }
    Ok(found)
}
