//! The portable build in the packages: one program for every CPU of its architecture, with llama.cpp's libraries.

use std::path::{Path, PathBuf};

use super::files;
use crate::shell::{Failure, Shell};
use crate::{progress, steps};

/// The results of the build.
#[derive(Debug)]
pub(crate) struct Portable {
    /// The server's program.
    pub(crate) program: PathBuf,
    /// The libraries that it is linked with, and the variants of ggml's kernels, one of which it loads. Some are
    /// links.
    pub(crate) libraries: Vec<PathBuf>,
}

/// Builds it in the folder of the native build, with which it shares everything but llama.cpp, and restores the
/// native program.
pub(crate) fn build(shell: &Shell) -> Result<Portable, Failure> {
    println!(
        "package: building for every CPU (the first time compiles llama.cpp in all its variants: minutes)"
    );
    let arguments = [steps::BUILD_SERVER, &["--features", "portable"]].concat();
    progress::build(shell, &arguments)?;
    let built = PathBuf::from(shell.hedgerow()?.get_program());
    let program = shell.root().join("target/portable/hedgerow");
    files::copy(&built, &program)?;
    let libraries = libraries(shell, &program, &built.with_file_name("build"))?;
    progress::build(shell, steps::BUILD_SERVER)?;
    Ok(Portable { program, libraries })
}

/// The libraries and variants of a portable program, from the latest build below a folder.
pub(crate) fn libraries(shell: &Shell, program: &Path, builds: &Path) -> Result<Vec<PathBuf>, Failure> {
    let out = latest_build(builds)?;
    let variants = existing(&out.join("backends"), &|name| name.contains(".so"))?;
    // The folder's name on Debian or on Fedora.
    let folder = ["lib", "lib64"].map(|name| out.join(name)).into_iter().find(|folder| folder.is_dir());
    let others = existing(&folder.unwrap_or(out), &|name| is_soname(name))?;
    let mut libraries = needed(shell, program, &others)?;
    libraries.extend(variants);
    Ok(libraries)
}

/// The output folder of the latest build of llama.cpp; builds with other settings have their own folders.
fn latest_build(builds: &Path) -> Result<PathBuf, Failure> {
    let modified = |out: &PathBuf| out.join("backends").metadata().and_then(|found| found.modified()).ok();
    let latest = files::entries(builds)?
        .into_iter()
        .filter(|folder| files::name_of(folder).starts_with("llama-cpp-sys-2-"))
        .map(|folder| folder.join("out"))
        .filter(|out| out.join("backends").is_dir())
        .max_by_key(modified);
    latest.ok_or_else(|| left_nothing("libggml-cpu-*.so", builds))
}

/// The files of a folder whose names match; fails if there are none.
fn existing(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let found: Vec<PathBuf> =
        files::entries(folder)?.into_iter().filter(|path| fits(files::name_of(path))).collect();
    if found.is_empty() { Err(left_nothing("library", folder)) } else { Ok(found) }
}

fn left_nothing(what: &str, folder: &Path) -> Failure {
    Failure::new(
        format!("the build left no {what} in {}", folder.display()),
        "run `cargo clean --release -p llama-cpp-sys-2` and build again",
    )
}

/// Whether a name is a soname, by which programs load a library (`libllama.so.0`), in contrast to the linker name
/// (`libllama.so`) and the full version (`libllama.so.0.6.0`).
fn is_soname(name: &str) -> bool {
    name.split_once(".so.")
        .is_some_and(|(_, version)| !version.is_empty() && version.chars().all(|c| c.is_ascii_digit()))
}

/// The libraries that the program needs, directly or indirectly.
fn needed(shell: &Shell, program: &Path, libraries: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut to_read = vec![program.to_owned()];
    while let Some(file) = to_read.pop() {
        let output = shell.run_quietly(shell.program("objdump").arg("-p").arg(&file))?;
        let text = String::from_utf8_lossy(&output.stdout);
        for name in text.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")) {
            let library = libraries.iter().find(|library| files::name_of(library) == name.trim());
            if let Some(library) = library.filter(|library| !found.contains(library)) {
                found.push(library.clone());
                to_read.push(library.clone());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_a_librarys_names_is_its_soname() {
        let names = ["libllama.so", "libllama.so.0", "libllama.so.0.6.0", "libllama.a"];
        assert_eq!(names.map(is_soname), [false, true, false, false]);
    }
}
