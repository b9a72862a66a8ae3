//! The variants of ggml's CPU kernels: in a `portable` build one shared library each, of which one is loaded at
//! start; in a native build there is one, linked into the program.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::LlamaError;

/// The variant that was asked for, until llama.cpp starts and after.
static ASKED: OnceLock<String> = OnceLock::new();

/// The variant that was loaded.
#[cfg(feature = "portable")]
static LOADED: OnceLock<String> = OnceLock::new();

/// Names of the variants that can be loaded, the most demanding first; none in a native build. Not each of them
/// runs on this CPU.
pub fn cpu_variants() -> Vec<String> {
    let files = cpu_variant_files();
    let names = files.iter().filter_map(|file| variant_in(file.file_name()?.to_str()?));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_by(|a, b| demand(b).cmp(&demand(a)));
    names
}

/// The libraries of these variants, in no order.
pub fn cpu_variant_files() -> Vec<PathBuf> {
    let files = folder().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_name().to_str().and_then(variant_in).is_some())
        .map(|file| file.path())
        .collect()
}

/// Has llama.cpp load this variant instead of the one that suits the CPU best. To be called before anything else
/// here that starts llama.cpp; once it has started, only the variant that it has can be asked for.
///
/// # Errors
///
/// When there is no such variant, as in every native build, or another one was chosen before.
pub fn use_cpu_variant(name: &str) -> Result<(), LlamaError> {
    let known = cpu_variants();
    let fail = || LlamaError::CpuVariant { name: name.to_owned(), known: known.join(", ") };
    if !known.iter().any(|known| known == name) || cpu_variant().is_some_and(|loaded| loaded != name) {
        return Err(fail());
    }
    let asked = ASKED.get_or_init(|| name.to_owned());
    if asked == name { Ok(()) } else { Err(fail()) }
}

/// The variant that was loaded; `None` in a native build, and before llama.cpp has started.
pub fn cpu_variant() -> Option<&'static str> {
    #[cfg(feature = "portable")]
    return LOADED.get().map(String::as_str);
    #[cfg(not(feature = "portable"))]
    None
}

/// `icelake` of `libggml-cpu-icelake.so`.
fn variant_in(file_name: &str) -> Option<&str> {
    let (_, name) = file_name.rsplit_once("ggml-cpu-")?;
    name.strip_suffix(std::env::consts::DLL_SUFFIX).filter(|name| !name.is_empty())
}

/// Sorts variants by what they ask of a CPU. For x86 in the order of what CMakeLists.txt of ggml gives them; the
/// names of the other architectures sort by themselves.
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

/// Where the variants are: beside the executable, where a release puts them, or else where the build left them.
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

/// Loads the variant that was asked for, or the one that suits this CPU best.
#[cfg(feature = "portable")]
pub(crate) fn load() {
    let Some(folder) = folder() else { return };
    if let Some(name) = ASKED.get() {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let library = folder.join(format!("{prefix}ggml-cpu-{name}{suffix}"));
        if crate::kernels::load_variant(&library) {
            let _ = LOADED.set(name.clone());
        }
        return;
    }
    // Which one it chose is nowhere but in the log: `loaded CPU backend from /some/where/libggml-cpu-icelake.so`.
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
    fn a_native_build_has_no_variant_to_ask_for() {
        assert!(cpu_variants().is_empty());
        let error = use_cpu_variant("x64").unwrap_err();
        assert_eq!(error.code(), "cpu_variant_unknown");
        assert!(error.hint().contains("portable"), "{}", error.hint());
    }
}
