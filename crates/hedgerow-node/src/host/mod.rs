//! Reads facts about the host: the CPUs and the memory available to this process, and whether other work disturbs it.
//!
//! - takes: a [`Root`], the folder that contains `/proc` and `/sys`, so that tests can lay out any machine
//! - gives: numbers, and for each limit the file that sets it
//! - never: changes a setting, loads a model or fails; an unreadable file sets no limit
//!
//! `cpus` determines the number of engine threads, `memory` the available memory, `noise` whether a measurement was
//! disturbed. `cgroup` finds the control groups that `cpus` and `memory` read.

mod cgroup;
mod cpus;
mod machine;
mod memory;
mod noise;

use std::path::{Path, PathBuf};

pub(crate) use cpus::pin_this_thread;
pub use cpus::{Cpus, Threads};
pub use machine::Machine;
#[cfg(test)]
pub use memory::MemoryLimit;
pub use memory::{MemoryRoom, resident_bytes};
pub use noise::{Noise, Snapshot};

/// The folder below which `/proc` and `/sys` are read.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The root of the running system.
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A root without files, so that no limit is found.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self(PathBuf::from("/nowhere"))
    }

    /// Reads a file by its absolute path; `None` where it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        std::fs::read_to_string(self.place(path.as_ref())).ok()
    }

    /// Reads a file that contains one number.
    fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    /// Lists the names in a folder, unordered; empty where it cannot be read.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.place(Path::new(path))).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Parses a list like `0-3,8`; `None` where the text is not such a list.
fn number_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // No system has this many CPUs; a damaged file must not exhaust the memory.
        if last.checked_sub(first)? > 1 << 16 {
            return None;
        }
        numbers.extend(first..=last);
    }
    (!numbers.is_empty()).then_some(numbers)
}

/// Finds the value of a line like `VmRSS:  2048 kB` or `inactive_file 4096`: the text after the key.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?;
        rest.starts_with([':', ' ', '\t']).then(|| rest.trim_start_matches(':').trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fake file system; removed when dropped.
    pub(super) struct Tree {
        pub(super) root: Root,
    }

    impl Tree {
        /// Creates these files, each given as its absolute path and content.
        pub(super) fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir().join(format!("hedgerow-host-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            let tree = Self { root: Root(folder) };
            files.iter().for_each(|(path, content)| tree.write(path, content));
            tree
        }

        pub(super) fn write(&self, path: &str, content: &str) {
            let file = self.root.place(Path::new(path));
            std::fs::create_dir_all(file.parent().expect("a file lies in a folder")).unwrap();
            std::fs::write(file, content).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.root.0);
        }
    }

    #[test]
    fn lists_of_numbers_are_read() {
        assert_eq!(number_list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(number_list("5"), Some(vec![5]));
        for odd in ["", "\n", "3-1", "x", "0-4000000000"] {
            assert_eq!(number_list(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_value_is_found_by_its_whole_key() {
        let text = "inactive_file_x 1\ninactive_file 4096\nVmRSS:\t 2048 kB\n";
        assert_eq!(value_of(text, "inactive_file"), Some("4096"));
        assert_eq!(value_of(text, "VmRSS"), Some("2048 kB"));
        assert_eq!(value_of(text, "VmSize"), None);
    }
}
