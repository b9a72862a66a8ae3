//! The build that packages hold: one program for every CPU of its architecture, with llama.cpp's libraries beside it.

use std::path::{Path, PathBuf};

use super::files;
use crate::shell::{Failure, Shell};

/// What the build left.
#[derive(Debug)]
pub(super) struct Portable {
    /// The server's program.
    pub(super) program: PathBuf,
    /// The libraries that it is linked with, and the variants of ggml's arithmetic, one of which it loads.
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
    let mut libraries = shared_libraries(&release)?;
    libraries.extend(variants(&release.join("build"))?);
    Ok(Portable { program: release.join("hedgerow"), libraries })
}

/// What llama.cpp's build script put beside the program.
fn shared_libraries(release: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_library = |path: &PathBuf| {
        let name = files::name_of(path);
        ["libllama", "libggml"].iter().any(|start| name.starts_with(start)) && name.contains(".so")
    };
    let found: Vec<PathBuf> = files::entries(release)?.into_iter().filter(is_library).collect();
    expect_some(found, "libllama.so", release)
}

/// The variants of the latest build of llama.cpp: builds with other settings leave folders of their own.
fn variants(builds: &Path) -> Result<Vec<PathBuf>, Failure> {
    let modified = |folder: &PathBuf| folder.metadata().and_then(|found| found.modified()).ok();
    let latest = files::entries(builds)?
        .into_iter()
        .filter(|folder| files::name_of(folder).starts_with("llama-cpp-sys-2-"))
        .map(|folder| folder.join("out/backends"))
        .filter(|folder| folder.is_dir())
        .max_by_key(modified);
    let Some(folder) = latest else { return expect_some(Vec::new(), "libggml-cpu-*.so", builds) };
    let found = files::entries(&folder)?.into_iter().filter(|path| files::name_of(path).contains(".so"));
    expect_some(found.collect(), "libggml-cpu-*.so", &folder)
}

fn expect_some(found: Vec<PathBuf>, what: &str, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if found.is_empty() {
        return Err(Failure::new(
            format!("the build left no {what} in {}", folder.display()),
            "remove target/portable and build again",
        ));
    }
    Ok(found)
}
