//! The toolkits that accelerator features need to compile, and their detection on this machine.
//!
//! - takes: the search path, some environment variables and the file system
//! - gives: what is missing, and where to get it
//! - never: starts a program, or changes anything
//!
//! Two programs use it: `cargo xtask build` before it starts cargo, and the server's build script, which includes
//! this file, for users who call cargo directly. Without it a missing toolkit ends in hundreds of lines of CMake
//! output.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A feature of the server that compiles llama.cpp for an accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// NVIDIA GPUs, with CUDA.
    Cuda,
    /// Apple GPUs, with Metal.
    Metal,
    /// AMD GPUs, with ROCm.
    Rocm,
    /// GPUs with a Vulkan driver.
    Vulkan,
}

/// A missing tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What it is and what it is for.
    pub(crate) what: String,
    /// The Debian package that contains it.
    pub(crate) package: Option<&'static str>,
}

/// The parts of a machine that determine what is found. A value, so that tests can construct one.
pub(crate) struct Machine {
    /// The root of the file system.
    pub(crate) root: PathBuf,
    /// The folders of `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// The environment variables.
    pub(crate) variables: BTreeMap<String, PathBuf>,
    /// The target operating system: `linux`, `macos`, …
    pub(crate) system: String,
}

impl Machine {
    /// This machine, from the environment variables.
    pub(crate) fn this(system: &str) -> Machine {
        let path = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        let non_empty = env::vars_os().filter(|(_, value)| !value.is_empty());
        let variables = non_empty.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into())));
        Machine { root: PathBuf::from("/"), path, variables: variables.collect(), system: system.to_owned() }
    }

    /// Whether a program is in one of these folders or on the search path.
    fn has_program(&self, name: &str, folders: &[PathBuf]) -> bool {
        folders.iter().chain(&self.path).any(|folder| folder.join(name).is_file())
    }

    /// The folders named by these variables, and these folders under the root.
    fn folders(&self, variables: &[&str], under_root: &[&str]) -> Vec<PathBuf> {
        let named = variables.iter().filter_map(|name| self.variables.get(*name).cloned());
        named.chain(under_root.iter().map(|folder| self.root.join(folder))).collect()
    }
}

impl Accelerator {
    /// All accelerators, in the order of their names.
    pub(crate) const ALL: [Accelerator; 4] =
        [Accelerator::Cuda, Accelerator::Metal, Accelerator::Rocm, Accelerator::Vulkan];

    /// The feature's name.
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Accelerator::Cuda => "cuda",
            Accelerator::Metal => "metal",
            Accelerator::Rocm => "rocm",
            Accelerator::Vulkan => "vulkan",
        }
    }

    /// The tools that this machine lacks to compile it.
    pub(crate) fn missing(self, machine: &Machine) -> Vec<Missing> {
        let one = |is_there: bool, what: &str| {
            (!is_there).then(|| Missing { what: what.to_owned(), package: None }).into_iter().collect()
        };
        match self {
            Accelerator::Cuda => one(has_nvcc(machine), "nvcc, the compiler of NVIDIA's CUDA toolkit"),
            Accelerator::Metal => one(machine.system == "macos", "macOS: Metal exists nowhere else"),
            Accelerator::Rocm => one(has_rocm(machine), "hipcc and the libraries of AMD's ROCm"),
            Accelerator::Vulkan => missing_for_vulkan(machine),
        }
    }

    /// Where to get the toolkit.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Accelerator::Cuda => {
                "install the CUDA toolkit (on a Jetson: JetPack) and put nvcc on PATH, or name its folder in CUDA_PATH"
            }
            Accelerator::Metal => "build on a Mac, or with another feature",
            Accelerator::Rocm => "install ROCm with rocblas and hipblas, and name its folder in ROCM_PATH",
            Accelerator::Vulkan => {
                "install Debian's libvulkan-dev, glslc and spirv-headers (of Debian 13 or later), or the Vulkan SDK with its folder in VULKAN_SDK"
            }
        }
    }
}

/// One sentence about all missing tools of a feature; `None` if nothing is missing.
pub(crate) fn complaint(accelerator: Accelerator, missing: &[Missing]) -> Option<String> {
    let what: Vec<&str> = missing.iter().map(|missing| missing.what.as_str()).collect();
    let feature = accelerator.feature();
    (!what.is_empty()).then(|| format!("the feature `{feature}` cannot be built without {}", what.join("; ")))
}

fn has_nvcc(machine: &Machine) -> bool {
    let homes = machine.folders(&["CUDA_PATH", "CUDA_HOME", "CUDAToolkit_ROOT"], &["usr/local/cuda"]);
    let folders: Vec<PathBuf> = homes.iter().map(|home| home.join("bin")).collect();
    machine.variables.contains_key("CUDACXX") || machine.has_program("nvcc", &folders)
}

fn has_rocm(machine: &Machine) -> bool {
    // The binding's build script links with the libraries in the first of these folders.
    let homes = machine.folders(&["ROCM_PATH", "HIP_PATH"], &["opt/rocm"]);
    let Some(home) = homes.first() else { return false };
    machine.has_program("hipcc", &[home.join("bin")]) && home.join("lib").is_dir()
}

/// An extension whose types ggml's Vulkan backend uses unconditionally; headers before 1.3.272 lack it.
const HEADER_EXTENSION: &str = "VK_EXT_layer_settings";

fn missing_for_vulkan(machine: &Machine) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut lacks = |what: String, package| missing.push(Missing { what, package: Some(package) });
    let sdk = machine.folders(&["VULKAN_SDK"], &[]);
    let in_sdk = |inner: &str| sdk.iter().map(|folder| folder.join(inner)).collect::<Vec<_>>();
    if !machine.has_program("glslc", &in_sdk("bin")) {
        lacks("glslc, the compiler of shaders".to_owned(), "glslc");
    }
    let includes = [in_sdk("include"), machine.folders(&[], &["usr/include", "usr/local/include"])].concat();
    match includes.iter().find(|folder| folder.join("vulkan/vulkan.hpp").is_file()) {
        None => lacks("Vulkan's C++ headers (vulkan/vulkan.hpp)".to_owned(), "libvulkan-dev"),
        Some(folder) => {
            let text = fs::read_to_string(folder.join("vulkan/vulkan_core.h")).unwrap_or_default();
            if !text.contains(HEADER_EXTENSION) {
                let found = header_version(&text).unwrap_or_else(|| "of an unknown version".to_owned());
                let what =
                    format!("Vulkan headers of 1.3.272 or later; those in {} are {found}", folder.display());
                lacks(what, "libvulkan-dev");
            }
        }
    }
    let mut libraries =
        [in_sdk("lib"), machine.folders(&[], &["usr/lib", "usr/lib64", "usr/local/lib"])].concat();
    // Debian has a folder per architecture.
    libraries.extend(folders_in(&machine.root.join("usr/lib")));
    let has_loader =
        |folder: &PathBuf| ["libvulkan.so", "libvulkan.dylib"].iter().any(|name| folder.join(name).exists());
    if !libraries.iter().any(has_loader) {
        lacks("Vulkan's loader to link with (libvulkan.so)".to_owned(), "libvulkan-dev");
    }
    let shares = ["share/cmake", "lib/cmake", "lib64/cmake"];
    let bases =
        [sdk, machine.folders(&["SPIRV-Headers_DIR", "CMAKE_PREFIX_PATH"], &["usr", "usr/local"])].concat();
    let has_config = |folder: PathBuf| folder.join("SPIRV-HeadersConfig.cmake").is_file();
    let is_config_there = bases.iter().any(|base| {
        has_config(base.clone())
            || shares.iter().any(|share| has_config(base.join(share).join("SPIRV-Headers")))
    });
    if !is_config_there {
        lacks("the headers of SPIR-V with their CMake files".to_owned(), "spirv-headers");
    }
    missing
}

/// Parses `1.3.239` from `VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)` and
/// `VK_HEADER_VERSION 239`.
fn header_version(text: &str) -> Option<String> {
    let after = |name: &str| text.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
    let patch = after("VK_HEADER_VERSION ")?.trim();
    let whole = after("VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(")?;
    let mut numbers = whole.split(',').map(str::trim).skip(1);
    Some(format!("{}.{}.{patch}", numbers.next()?, numbers.next()?))
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has only the named files, with their contents, under a new folder.
    fn machine_with(name: &str, files: &[(&str, &str)]) -> Machine {
        let root = env::temp_dir().join(format!("xtask-toolkit-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let path = vec![root.join("usr/bin")];
        Machine { root, path, variables: BTreeMap::new(), system: "linux".to_owned() }
    }

    fn packages(machine: &Machine) -> Vec<&'static str> {
        Accelerator::Vulkan.missing(machine).iter().filter_map(|missing| missing.package).collect()
    }

    const NEW: &str = "#define VK_HEADER_VERSION 309\n#define VK_EXT_layer_settings 1\n";
    const OLD: &str = "#define VK_HEADER_VERSION 239\n#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)\n";

    fn debian(core: &str) -> Vec<(&'static str, &str)> {
        vec![
            ("usr/bin/glslc", ""),
            ("usr/include/vulkan/vulkan.hpp", ""),
            ("usr/include/vulkan/vulkan_core.h", core),
            ("usr/lib/x86_64-linux-gnu/libvulkan.so", ""),
            ("usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake", ""),
        ]
    }

    #[test]
    fn a_bare_machine_lacks_all_toolkits_and_each_has_a_complaint() {
        let machine = machine_with("bare", &[]);
        for accelerator in Accelerator::ALL {
            let text = complaint(accelerator, &accelerator.missing(&machine)).unwrap();
            let start = format!("the feature `{}` cannot be built without ", accelerator.feature());
            assert!(text.starts_with(&start) && !text.contains('\n'), "{text}");
        }
        assert_eq!(packages(&machine), ["glslc", "libvulkan-dev", "libvulkan-dev", "spirv-headers"]);
    }

    #[test]
    fn vulkan_is_found_where_debian_puts_it() {
        assert_eq!(packages(&machine_with("debian", &debian(NEW))), [""; 0]);
    }

    #[test]
    fn headers_that_are_too_old_are_named_with_their_version() {
        let missing = Accelerator::Vulkan.missing(&machine_with("old", &debian(OLD)));
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].what.ends_with("/usr/include are 1.3.239"), "{missing:?}");
    }

    #[test]
    fn the_sdk_has_priority_over_the_system() {
        let mut files = debian(OLD);
        files.extend([("sdk/include/vulkan/vulkan.hpp", ""), ("sdk/include/vulkan/vulkan_core.h", NEW)]);
        let mut machine = machine_with("sdk", &files);
        machine.variables.insert("VULKAN_SDK".to_owned(), machine.root.join("sdk"));
        assert_eq!(packages(&machine), [""; 0]);
    }

    #[test]
    fn cuda_and_rocm_are_found_in_their_own_folders() {
        let machine = machine_with(
            "folders",
            &[("usr/local/cuda/bin/nvcc", ""), ("opt/rocm/bin/hipcc", ""), ("opt/rocm/lib/x", "")],
        );
        assert_eq!(Accelerator::Cuda.missing(&machine), []);
        assert_eq!(Accelerator::Rocm.missing(&machine), []);
    }

    #[test]
    fn metal_needs_only_macos() {
        let machine = Machine { system: "macos".to_owned(), ..machine_with("mac", &[]) };
        assert_eq!(Accelerator::Metal.missing(&machine), []);
    }
}
