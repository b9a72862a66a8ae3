//! The licences, with their texts, of the Rust crates and of llama.cpp in the program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::files;
use crate::shell::{Failure, Shell};

/// A third-party crate in the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    license: String,
}

/// A list of the crates, followed by each licence text once with its crates.
pub(super) fn text(shell: &Shell) -> Result<String, Failure> {
    let crates = linked_crates(shell)?;
    let folders = crate_folders(shell)?;
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for one in &crates {
        let title = format!("{} {}", one.name, one.version);
        list += &format!("{title:<40} {}\n", one.license);
        let folder = folders.get(&title).ok_or_else(|| {
            Failure::new(format!("the sources of {title} are not here"), "run `cargo fetch --locked`")
        })?;
        for file in license_files(folder)? {
            let text =
                String::from_utf8_lossy(&std::fs::read(&file).map_err(files::failed("reading", &file))?)
                    .into_owned();
            texts.entry(text).or_default().push(title.clone());
        }
    }
    let mut whole = format!(
        "hedgerow contains these Rust crates, under these licences:\n\n{list}\nIt also contains the Rust standard \
         library (MIT OR Apache-2.0, the Rust project\ncontributors). The licence texts follow; a crate \
         without a file of its own is\nunder the standard text of the licence named above.\n"
    );
    let mut in_order: Vec<_> = texts.into_iter().map(|(text, titles)| (titles, text)).collect();
    in_order.sort();
    for (titles, text) in in_order {
        let rule = "=".repeat(90);
        whole += &format!("\n{rule}\n{}\n{rule}\n\n{}\n", titles.join(", "), text.trim_end());
    }
    Ok(whole)
}

/// The crates linked into the program, without macros and build scripts.
fn linked_crates(shell: &Shell) -> Result<BTreeSet<Crate>, Failure> {
    let mut cargo = shell.cargo();
    cargo.args(["tree", "--locked", "--package", "hedgerow", "--features", "portable"]);
    cargo.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}\t{l}"]);
    let output = shell.run_quietly(&mut cargo)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<Crate> = text.lines().filter_map(parse_crate).collect();
    if crates.is_empty() {
        return Err(Failure::new("`cargo tree` names no crate", "read its output"));
    }
    Ok(crates)
}

/// Parses `serde v1.0.229\tMIT OR Apache-2.0`; ignores the workspace's own crates, which have a path.
fn parse_crate(line: &str) -> Option<Crate> {
    let (package, license) = line.split_once('\t')?;
    let (name, rest) = package.split_once(" v")?;
    if rest.contains("(/") {
        return None;
    }
    let version = rest.split(' ').next()?.to_owned();
    // cargo marks repeated entries.
    let license = license.trim_end_matches(" (*)").trim().to_owned();
    Some(Crate { name: name.to_owned(), version, license })
}

/// The source folder of each crate by `NAME VERSION`, from `cargo metadata`.
fn crate_folders(shell: &Shell) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut cargo = shell.cargo();
    let output = shell.run_quietly(cargo.args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--features",
        "portable",
    ]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let manifests = text.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut folders = BTreeMap::new();
    for folder in manifests.filter_map(|manifest| Path::new(manifest).parent()) {
        let name = files::name_of(folder);
        // NAME-VERSION: the version begins at the first hyphen before a digit.
        let split =
            name.match_indices('-').find(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
        // A crate's name may have such a hyphen too, so every split is entered.
        if split.is_some() {
            for (at, _) in name.match_indices('-') {
                folders.insert(format!("{} {}", &name[..at], &name[at + 1..]), folder.to_owned());
            }
        }
    }
    Ok(folders)
}

/// The licence files of a crate, and those of llama.cpp in the crate with its sources.
fn license_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join("llama.cpp"), folder.join("llama.cpp/licenses")] {
        if !folder.is_dir() {
            continue;
        }
        for path in files::entries(&folder)? {
            let name = files::name_of(&path).to_ascii_uppercase();
            let starts = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
            if path.is_file() && starts.iter().any(|start| name.starts_with(start)) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_party_crates_are_distinguished_from_own_ones() {
        let serde = parse_crate("serde v1.0.229\tMIT OR Apache-2.0").unwrap();
        assert_eq!(
            (serde.name.as_str(), serde.version.as_str(), serde.license.as_str()),
            ("serde", "1.0.229", "MIT OR Apache-2.0")
        );
        assert_eq!(parse_crate("serde v1.0.229\tMIT OR Apache-2.0 (*)").as_ref(), Some(&serde));
        assert_eq!(parse_crate("hedgerow-core v0.1.0 (/src/crates/hedgerow-core)\tMIT OR Apache-2.0"), None);
        assert_eq!(parse_crate(""), None);
    }
}
