//! The tools that the build needs, and their detection on this machine.
//!
//! - takes: the search path, a few environment variables and the file system
//! - gives: which tools are installed, and where
//! - never: starts a program, or changes anything

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A tool for compiling llama.cpp or fetching the small model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C++ compiler, for llama.cpp.
    CxxCompiler,
    /// make, for CMake's makefiles.
    Make,
    /// CMake, llama.cpp's build system.
    Cmake,
    /// libclang, with which bindgen reads llama.cpp's header.
    Libclang,
    /// Python, because the small model comes from a Python package index.
    Python,
}

impl Need {
    /// All tools, in the order in which they are reported.
    pub(crate) const ALL: [Need; 5] =
        [Need::CxxCompiler, Need::Make, Need::Cmake, Need::Libclang, Need::Python];

    /// The tool's name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Need::CxxCompiler => "a C++ compiler",
            Need::Make => "make",
            Need::Cmake => "cmake",
            Need::Libclang => "libclang",
            Need::Python => "python3 with pip",
        }
    }

    /// The Debian package that contains it.
    pub(crate) fn debian_package(self) -> &'static str {
        match self {
            Need::CxxCompiler => "g++",
            Need::Make => "make",
            Need::Cmake => "cmake",
            Need::Libclang => "libclang-dev",
            Need::Python => "python3-pip",
        }
    }
}

/// The parts of a machine that determine what is found. A value, so that tests can construct one.
pub(crate) struct Host {
    /// The root of the file system.
    pub(crate) root: PathBuf,
    /// The folders of `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// The folders of `LD_LIBRARY_PATH`.
    pub(crate) library_path: Vec<PathBuf>,
    /// `LIBCLANG_PATH`: a folder, or the library itself.
    pub(crate) libclang: Option<PathBuf>,
    /// `CXX`, which CMake uses.
    pub(crate) cxx: Option<OsString>,
}

impl Host {
    /// This machine, from the environment variables.
    pub(crate) fn this_machine() -> Host {
        let folders =
            |name| env::var_os(name).map(|value| env::split_paths(&value).collect()).unwrap_or_default();
        let non_empty = |name| env::var_os(name).filter(|value| !value.is_empty());
        Host {
            root: PathBuf::from("/"),
            path: folders("PATH"),
            library_path: folders("LD_LIBRARY_PATH"),
            libclang: non_empty("LIBCLANG_PATH").map(PathBuf::from),
            cxx: non_empty("CXX"),
        }
    }

    /// The path of a program, if it is on the search path.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(name)).find(|file| is_executable(file))
    }

    /// Whether a C++ compiler is installed under one of the names that CMake tries.
    pub(crate) fn has_cxx_compiler(&self) -> bool {
        self.cxx.is_some() || ["c++", "g++", "clang++"].iter().any(|name| self.program(name).is_some())
    }

    /// The folder of a libclang that bindgen finds by itself.
    ///
    /// Only folders that its loader searches count; a library elsewhere would not help the build.
    pub(crate) fn libclang_folder(&self) -> Option<PathBuf> {
        if let Some(named) = &self.libclang {
            let folder = if named.is_file() { named.parent()?.to_owned() } else { named.clone() };
            return holds_libclang(&folder).then_some(folder);
        }
        let mut folders = self.library_path.clone();
        for base in ["usr/lib", "usr/lib64", "usr/local/lib"] {
            let base = self.root.join(base);
            for inner in entries_starting_with(&base, "") {
                folders.extend([inner.join("lib"), inner]);
            }
            folders.push(base);
        }
        folders.into_iter().find(|folder| holds_libclang(folder))
    }

    /// Whether the compiler's own headers (such as `stddef.h`) are where that libclang looks for them. Debian
    /// packages them separately, and the Python wheel does not contain them.
    pub(crate) fn has_clang_headers(&self, libclang_folder: &Path) -> bool {
        let mut homes = vec![
            libclang_folder.join("clang"),
            libclang_folder.join("../lib/clang"),
            self.root.join("usr/lib/clang"),
        ];
        let llvm = entries_starting_with(&self.root.join("usr/lib"), "llvm-");
        homes.extend(llvm.into_iter().map(|folder| folder.join("lib/clang")));
        homes
            .iter()
            .flat_map(|home| entries_starting_with(home, ""))
            .any(|version| version.join("include/stddef.h").exists())
    }
}

/// Whether bindgen's loader would accept a library in this folder.
fn holds_libclang(folder: &Path) -> bool {
    entries_starting_with(folder, "libclang").iter().any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        is_libclang(&name) && fs::metadata(file).is_ok_and(|found| found.is_file())
    })
}

/// Whether a file name is `libclang.so`, `libclang-14.so`, `libclang.so.1` or `libclang-14.so.1`, but not
/// `libclang-cpp.so`, which is another library.
fn is_libclang(name: &str) -> bool {
    let Some((stem, version)) = name.split_once(".so") else { return false };
    let stem_fits = match stem.strip_prefix("libclang") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(is_version),
        None => false,
    };
    stem_fits && (version.is_empty() || version.strip_prefix('.').is_some_and(is_version))
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
}

/// The entries of a folder whose names have a prefix, sorted by name; empty if the folder does not exist.
fn entries_starting_with(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has only the named files, under a new folder.
    fn host_with(name: &str, files: &[&str]) -> Host {
        let root = env::temp_dir().join(format!("xtask-detect-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
        }
        Host { path: vec![root.join("usr/bin")], root, library_path: Vec::new(), libclang: None, cxx: None }
    }

    #[test]
    fn finds_libclang_where_debian_puts_it() {
        let host = host_with(
            "debian",
            &["usr/lib/llvm-14/lib/libclang-14.so.1", "usr/lib/llvm-14/lib/clang/14/include/stddef.h"],
        );
        let folder = host.libclang_folder().unwrap();
        assert!(folder.ends_with("usr/lib/llvm-14/lib"), "{folder:?}");
        assert!(host.has_clang_headers(&folder));
    }

    #[test]
    fn takes_the_runtime_library_without_its_headers() {
        let host = host_with("runtime", &["usr/lib/x86_64-linux-gnu/libclang-14.so.14.0.6"]);
        let folder = host.libclang_folder().unwrap();
        assert!(!host.has_clang_headers(&folder));
    }

    #[test]
    fn ignores_the_cpp_library() {
        let host = host_with(
            "cpp",
            &["usr/lib/x86_64-linux-gnu/libclang-cpp.so.14", "usr/lib/llvm-14/lib/libclangAST.a"],
        );
        assert_eq!(host.libclang_folder(), None);
    }

    #[test]
    fn uses_only_the_variable_if_it_is_set() {
        let mut host = host_with("variable", &["usr/lib/libclang.so", "wheel/libclang.so", "empty/readme"]);
        host.libclang = Some(host.root.join("wheel"));
        assert!(host.libclang_folder().unwrap().ends_with("wheel"));
        host.libclang = Some(host.root.join("empty"));
        assert_eq!(host.libclang_folder(), None);
    }

    #[test]
    fn a_file_that_is_not_executable_is_no_program() {
        let host = host_with("program", &["usr/bin/g++"]);
        assert_eq!(host.program("g++"), None);
        assert!(!host.has_cxx_compiler());
    }

    #[test]
    fn distinguishes_libclang_from_similar_names() {
        for good in
            ["libclang.so", "libclang-14.so", "libclang.so.1", "libclang-14.so.14.0.6", "libclang-18.so.18"]
        {
            assert!(is_libclang(good), "{good}");
        }
        for bad in ["libclang-cpp.so.14", "libclangAST.a", "libclang.a", "libclang.sock", "libclang-.so"] {
            assert!(!is_libclang(bad), "{bad}");
        }
    }
}
