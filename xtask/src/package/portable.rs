//! The build that packages hold: one program for every CPU of its architecture, with llama.cpp's libraries beside it.

use std::path::{Path, PathBuf};

use super::files;
use crate::shell::{Failure, Shell};

/// What the build left.
#[derive(Debug)]
pub(super) struct Portable {
    /// The server's program.
    pub(super) program: PathBuf,
    /// The libraries that it is linked with, and the variants of ggml's arithmetic, one of which it loads. Some are links.
    pub(super) libraries: Vec<PathBuf>,
}

/// Builds it in a target folder of its own, so that this build and the machine's own do not replace each other.
pub(super) fn build(shell: &Shell) -> Result<Portable, Failure> {
    println!(
        "package: building for every CPU (the first time compiles llama.cpp in all its variants: minutes)"
    );
    let target = shell.root().join("target/portable");
    // Instead of `target-cpu=native` in .cargo/config.toml. The libraries are found beside the program, also those
    // that a library needs: that is what the older of the two tags (DT_RPATH) does and DT_RUNPATH does not.
    let flags = ["-C", "link-arg=-Wl,-rpath,$ORIGIN", "-C", "link-arg=-Wl,--disable-new-dtags"];
    let mut cargo = shell.cargo();
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.args(["build", "--release", "--locked", "--package", "hedgerow", "--features", "portable"]);
    shell.run(cargo.arg("--target-dir").arg(&target))?;
    let release = target.join("release");
    let program = release.join("hedgerow");
    let out = latest_build(&release.join("build"))?;
    let variants = existing(&out.join("backends"), &|name| name.contains(".so"))?;
    // Debian's name for the folder, or Fedora's.
    let folder = ["lib", "lib64"].map(|name| out.join(name)).into_iter().find(|folder| folder.is_dir());
    let others = existing(&folder.unwrap_or(out), &|name| is_soname(name))?;
    let mut libraries = needed(shell, &program, &others)?;
    libraries.extend(variants);
    Ok(Portable { program, libraries })
}

/// Where the latest build of llama.cpp left its files: builds with other settings have folders of their own.
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

/// The files of a folder whose names fit; it is a failure if there are none.
fn existing(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let found: Vec<PathBuf> =
        files::entries(folder)?.into_iter().filter(|path| fits(files::name_of(path))).collect();
    if found.is_empty() { Err(left_nothing("library", folder)) } else { Ok(found) }
}

fn left_nothing(what: &str, folder: &Path) -> Failure {
    Failure::new(
        format!("the build left no {what} in {}", folder.display()),
        "remove target/portable and build again",
    )
}

/// `libllama.so.0`: the name by which programs ask for a library, not that for compilers (`libllama.so`) nor the whole
/// version (`libllama.so.0.6.0`).
fn is_soname(name: &str) -> bool {
    name.split_once(".so.")
        .is_some_and(|(_, version)| !version.is_empty() && version.chars().all(|c| c.is_ascii_digit()))
}

/// Those of the libraries that the program needs, and those that they need in turn.
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
    fn one_of_a_library_s_three_names_is_the_one_that_programs_ask_for() {
        let names = ["libllama.so", "libllama.so.0", "libllama.so.0.6.0", "libllama.a"];
        assert_eq!(names.map(is_soname), [false, true, false, false]);
    }
}
