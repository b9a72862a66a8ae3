//! The variants of ggml's CPU kernels. In a `portable` build each is a shared library, of which one is loaded at
//! start; a native build has one variant, linked into the program.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::LlamaError;

/// The requested variant.
static REQUESTED: OnceLock<String> = OnceLock::new();

/// The loaded variant.
#[cfg(feature = "portable")]
static LOADED: OnceLock<String> = OnceLock::new();

/// Names of the available variants, the most demanding first; empty in a native build. This CPU may not support all
/// of them.
pub fn cpu_variants() -> Vec<String> {
    let files = cpu_variant_files();
    let names = files.iter().filter_map(|file| variant_in(file.file_name()?.to_str()?));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_by(|a, b| demand(b).cmp(&demand(a)));
    names
}

/// The libraries of the variants, in arbitrary order.
pub fn cpu_variant_files() -> Vec<PathBuf> {
    let files = folder().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_name().to_str().and_then(variant_in).is_some())
        .map(|file| file.path())
        .collect()
}

/// Makes llama.cpp load this variant instead of the best one for the CPU. To be called before llama.cpp is
/// initialized; afterwards only the loaded variant is accepted.
///
/// # Errors
///
/// When the variant does not exist, as in every native build, or another one was chosen before.
pub fn use_cpu_variant(name: &str) -> Result<(), LlamaError> {
    let known = cpu_variants();
    let fail = || LlamaError::CpuVariant { name: name.to_owned(), known: known.join(", ") };
    if !known.iter().any(|known| known == name) || cpu_variant().is_some_and(|loaded| loaded != name) {
        return Err(fail());
    }
    let requested = REQUESTED.get_or_init(|| name.to_owned());
    if requested == name { Ok(()) } else { Err(fail()) }
}

/// The loaded variant; `None` in a native build, and before llama.cpp is initialized.
pub fn cpu_variant() -> Option<&'static str> {
    #[cfg(feature = "portable")]
    return LOADED.get().map(String::as_str);
    #[cfg(not(feature = "portable"))]
    None
}

/// Parses `icelake` from `libggml-cpu-icelake.so`.
fn variant_in(file_name: &str) -> Option<&str> {
    let (_, name) = file_name.rsplit_once("ggml-cpu-")?;
    name.strip_suffix(std::env::consts::DLL_SUFFIX).filter(|name| !name.is_empty())
}

/// The sort key of a variant by its requirements: for x86 the order in ggml's CMakeLists.txt, for other architectures
/// the name.
fn demand(name: &str) -> (Option<usize>, &str) {
    const X86: [&str; 14] = [
        "x64",
        "sse42",
        "sandybridge",
        "ivybridge",
        "piledriver",
        "haswell",
        "alderlake",
        "skylakex",
        "cannonlake",
        "cascadelake",
        "icelake",
        "cooperlake",
        "zen4",
        "sapphirerapids",
    ];
    (X86.iter().position(|known| *known == name), name)
}

/// The folder of the variants: next to the executable, as in a release, or else the build folder.
#[cfg(feature = "portable")]
fn folder() -> Option<PathBuf> {
    let has_variants = |folder: &PathBuf| {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        folder.to_str().is_some()
            && files.into_iter().any(|file| file.file_name().to_str().and_then(variant_in).is_some())
    };
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let built = llama_cpp_sys_2::BACKENDS_DIR.map(PathBuf::from);
    [beside, built].into_iter().flatten().find(has_variants)
}

#[cfg(not(feature = "portable"))]
fn folder() -> Option<PathBuf> {
    None
}

/// Loads the requested variant, or the best one for this CPU.
#[cfg(feature = "portable")]
pub(crate) fn load() {
    let Some(folder) = folder() else { return };
    if let Some(name) = REQUESTED.get() {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let library = folder.join(format!("{prefix}ggml-cpu-{name}{suffix}"));
        if crate::kernels::load_variant(&library) {
            let _ = LOADED.set(name.clone());
        }
        return;
    }
    // Only the log names the choice: `loaded CPU backend from /some/where/libggml-cpu-icelake.so`.
    crate::log::with_listener(
        |text| {
            if let Some(name) = text.split_once("backend from ").and_then(|(_, path)| variant_in(path)) {
                let _ = LOADED.set(name.to_owned());
            }
        },
        || llama_cpp_2::llama_backend::load_backends_from_path(&folder),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_read_from_its_library_s_name() {
        let library = |name: &str| format!("libggml-cpu-{name}{}", std::env::consts::DLL_SUFFIX);
        assert_eq!(variant_in(&library("icelake")), Some("icelake"));
        assert_eq!(variant_in(&format!("/a/b/{}", library("armv8.2_1"))), Some("armv8.2_1"));
        assert_eq!(variant_in("libggml-base.so"), None);
        assert_eq!(variant_in("libggml-cpu-icelake.so.1"), None);
    }

    #[test]
    fn the_most_demanding_variant_is_tried_first_and_the_plainest_last() {
        let mut names = ["haswell", "sapphirerapids", "x64", "zen4", "icelake"];
        names.sort_by(|a, b| demand(b).cmp(&demand(a)));
        assert_eq!(names, ["sapphirerapids", "zen4", "icelake", "haswell", "x64"]);
        let mut names = ["armv8.0_1", "armv9.2_2", "armv8.6_1"];
        names.sort_by(|a, b| demand(b).cmp(&demand(a)));
        assert_eq!(names, ["armv9.2_2", "armv8.6_1", "armv8.0_1"]);
    }

    #[cfg(not(feature = "portable"))]
    #[test]
    fn a_native_build_has_no_variants() {
        assert!(cpu_variants().is_empty());
        let error = use_cpu_variant("x64").unwrap_err();
        assert_eq!(error.code(), "cpu_variant_unknown");
        assert!(error.hint().contains("portable"), "{}", error.hint());
    }
}
