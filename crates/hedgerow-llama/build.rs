//! Fails if llama.cpp was compiled without this crate's `cmake/llama.cmake`, and passes build facts to the tests.
//!
//! Without that file, GCC 12 compiles AMX kernels that crash the process: see `cmake/amx.h`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

const OURS: &str = "cmake/llama.cmake";

fn main() {
    println!("cargo:rerun-if-changed={OURS}");
    println!("cargo:rerun-if-changed=cmake/amx.h");
    let crate_folder = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    // The binding's build script names the folder of CMake files that it installed: OUT/lib/cmake.
    let installed = PathBuf::from(variable("DEP_LLAMA_GGML_CMAKE_DIR"));
    let Some(build) = installed.ancestors().nth(2).map(|out| out.join("build")) else {
        fail(&format!("{} is not where the binding installs to", installed.display()));
    };
    let cache = build.join("CMakeCache.txt");
    let text = fs::read_to_string(&cache)
        .unwrap_or_else(|error| fail(&format!("{} cannot be read: {error}", cache.display())));
    let used = cache_entry(&text, "CMAKE_PROJECT_INCLUDE").unwrap_or_default();
    let is_ours = match (fs::canonicalize(used), fs::canonicalize(crate_folder.join(OURS))) {
        (Ok(used), Ok(ours)) => is_same_text(&used, &ours),
        _ => false,
    };
    if !is_ours {
        fail(&format!(
            "llama.cpp was compiled with CMAKE_PROJECT_INCLUDE=`{used}` instead of crates/hedgerow-llama/{OURS}.\n\
             hint: run cargo inside the repository, whose .cargo/config.toml sets it, with \
             CMAKE_PROJECT_INCLUDE unset; `cargo clean --release -p llama-cpp-sys-2` compiles llama.cpp again"
        ));
    }
    println!("cargo:rustc-env=HEDGEROW_LLAMA_BUILD={}", build.display());
    println!(
        "cargo:rustc-env=HEDGEROW_LLAMA_COMPILER={}",
        compiler(&build).unwrap_or_else(|| "unknown".to_owned())
    );
}

/// The C++ compiler's name and version, as found by CMake.
fn compiler(build: &Path) -> Option<String> {
    let folders = fs::read_dir(build.join("CMakeFiles")).ok()?.flatten();
    let text = folders
        .filter_map(|folder| fs::read_to_string(folder.path().join("CMakeCXXCompiler.cmake")).ok())
        .next()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("set({name} \"")))?;
        Some(line.split('"').next()?.to_owned())
    };
    Some(format!("{} {}", value("CMAKE_CXX_COMPILER_ID")?, value("CMAKE_CXX_COMPILER_VERSION")?))
}

/// Whether both are the same file or have the same content: the checkout may have been moved since.
fn is_same_text(one: &Path, other: &Path) -> bool {
    one == other || fs::read(one).ok().is_some_and(|text| fs::read(other).ok() == Some(text))
}

/// The value of `NAME:TYPE=VALUE` in CMake's cache.
fn cache_entry<'a>(cache: &'a str, name: &str) -> Option<&'a str> {
    let entry =
        |line: &'a str| line.strip_prefix(name)?.strip_prefix(':')?.split_once('=').map(|(_, value)| value);
    cache.lines().find_map(entry)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(why: &str) -> ! {
    // Cargo shows the stderr of a failing build script.
    eprintln!("error: {why}");
    exit(1)
}
