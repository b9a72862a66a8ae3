//! Text checks of the repository's files that no compiler does.

mod imports;
mod links;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use crate::shell::{Failure, Shell};

/// A tracked text file, or one that is about to be tracked.
struct File {
    path: String,
    text: String,
}

/// A problem that has to be fixed by hand.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A source file longer than this must say why, in a comment with [`LONG_FILE_REASON`].
const LINES_MAX: usize = 600;
const LONG_FILE_REASON: &str = "tidy: long because ";

/// Runs all checks and prints their findings.
pub(crate) fn run(shell: &Shell) -> Result<(), Failure> {
    let files = read_files(shell)?;
    let checks = [
        blanks,
        long_files,
        model_tags,
        crate_map,
        registry_hosts,
        llama_cmake,
        imports::layers,
        imports::circles,
        links::links,
        links::summary,
    ];
    let mut findings: Vec<Finding> = checks.iter().flat_map(|check| check(&files)).collect();
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("{} files are tidy", files.len());
        return Ok(());
    }
    Err(Failure::new(format!("{} places are untidy", findings.len()), "fix the lines above"))
}

/// Reads all text files that git tracks or would track, except deleted ones.
fn read_files(shell: &Shell) -> Result<Vec<File>, Failure> {
    let mut git = shell.program("git");
    let output =
        shell.run_quietly(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let names = String::from_utf8_lossy(&output.stdout);
    let paths: BTreeSet<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
    let read = |path: &str| {
        let text = fs::read(shell.root().join(path)).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

/// Finds tabs, trailing blanks, and files that do not end with a line break.
fn blanks(files: &[File]) -> Vec<Finding> {
    const ENDINGS: [&str; 10] =
        [".rs", ".md", ".toml", ".py", ".sh", ".js", ".css", ".html", ".yml", ".service"];
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| ENDINGS.iter().any(|ending| file.path.ends_with(ending))) {
        for (number, line) in numbered(&file.text) {
            if line.contains('\t') {
                findings.push(file.finding(number, "a tab"));
            }
            if line.ends_with([' ', '\r']) {
                findings.push(file.finding(number, "a blank at the end of the line"));
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            findings.push(file.finding(file.text.lines().count(), "no line break at the end of the file"));
        }
    }
    findings
}

/// Finds source files that are too long and give no reason.
fn long_files(files: &[File]) -> Vec<Finding> {
    let is_source = |file: &&File| [".rs", ".py", ".js"].iter().any(|ending| file.path.ends_with(ending));
    let mut findings = Vec::new();
    for file in files.iter().filter(is_source).filter(|file| !file.path.contains("/vendor/")) {
        let count = file.text.lines().count();
        let says_why = file.text.lines().take(20).any(|line| line.contains(LONG_FILE_REASON));
        if count > LINES_MAX && !says_why {
            let what = format!(
                "{count} lines, more than {LINES_MAX}: split it, or say `{LONG_FILE_REASON}...` on top"
            );
            findings.push(file.finding(1, &what));
        }
    }
    findings
}

/// Every section of `docs/design/model.md` that the code cites exists.
fn model_tags(files: &[File]) -> Vec<Finding> {
    let Some(model) = files.iter().find(|file| file.path == "docs/design/model.md") else {
        return Vec::new();
    };
    let sections: BTreeSet<&str> = model.text.lines().filter_map(section_of_heading).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("crates/") && file.path.ends_with(".rs")) {
        for (number, line) in numbered(&file.text) {
            for section in cited_sections(line) {
                if !sections.contains(section) {
                    let what = format!("docs/design/model.md has no section {section}");
                    findings.push(file.finding(number, &what));
                }
            }
        }
    }
    findings
}

/// Parses headings: `## §3 Uplink`, `## 3. Uplink` and `### 3.2 Rate` are sections 3, 3 and 3.2.
fn section_of_heading(line: &str) -> Option<&str> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim_start();
    leading_number(title.strip_prefix('§').unwrap_or(title).trim_start())
}

/// The sections cited in a line by `model.md §n` and by each following `, §n`.
fn cited_sections(line: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    for after in line.split("model.md §").skip(1) {
        let mut rest = after;
        while let Some(number) = leading_number(rest) {
            sections.push(number);
            match rest[number.len()..].strip_prefix(", §") {
                Some(next) => rest = next,
                None => break,
            }
        }
    }
    sections
}

/// Parses `3.2` from `3.2. Rate`: digits and the points between them.
fn leading_number(text: &str) -> Option<&str> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.');
    (!number.is_empty()).then_some(number)
}

/// Finds crates that `ARCHITECTURE.md` does not name.
fn crate_map(files: &[File]) -> Vec<Finding> {
    let map = files.iter().find(|file| file.path == "ARCHITECTURE.md");
    let crates: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
        .filter(|name| !name.contains('/'))
        .collect();
    let mut findings = Vec::new();
    for name in crates {
        let folder = format!("crates/{name}");
        if !map.is_some_and(|map| names_folder(&map.text, &folder)) {
            let what = format!("does not name {folder}");
            findings.push(Finding { path: "ARCHITECTURE.md".to_owned(), line: 1, what });
        }
    }
    findings
}

/// Whether the text contains a path as a whole word: `crates/hedgerow` is not in `crates/hedgerow-core`.
fn names_folder(text: &str, folder: &str) -> bool {
    text.split(folder)
        .skip(1)
        .any(|after| !after.starts_with(|next: char| next.is_alphanumeric() || next == '-'))
}

/// Finds names of package registries: the user's configuration decides from where packages are fetched.
fn registry_hosts(files: &[File]) -> Vec<Finding> {
    let hosts = registry_host_names();
    let mut findings = Vec::new();
    // Cargo writes the name of its index to the lock file.
    for file in files.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (number, line) in numbered(&file.text) {
            for host in &hosts {
                if line.to_lowercase().contains(host) {
                    findings.push(file.finding(number, &format!("names the package registry {host}")));
                }
            }
        }
    }
    findings
}

/// The names, assembled from pieces so that this file passes its own check.
fn registry_host_names() -> Vec<String> {
    [["py", "pi.org"], ["python", "hosted.org"], ["crates", ".io"], ["npm", "js.org"], ["deb.", "debian.org"]]
        .iter()
        .map(|pieces| pieces.concat())
        .collect()
}

impl File {
    fn finding(&self, line: usize, what: &str) -> Finding {
        Finding { path: self.path.clone(), line, what: what.to_owned() }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').enumerate().map(|(index, line)| (index + 1, line))
}

/// Checks that `.cargo/config.toml` has the checksum of the files that define how llama.cpp is compiled, so that a
/// change of them compiles it again.
fn llama_cmake(files: &[File]) -> Vec<Finding> {
    const CONFIG: &str = ".cargo/config.toml";
    let Some(config) = files.iter().find(|file| file.path == CONFIG) else { return Vec::new() };
    let ours = files.iter().filter(|file| file.path.starts_with("crates/hedgerow-llama/cmake/"));
    let sum = fnv(ours.flat_map(|file| file.path.bytes().chain(file.text.bytes())));
    let line = format!("GGML_HEDGEROW_CMAKE = \"{sum:016x}\"");
    if config.text.lines().any(|found| found == line) {
        return Vec::new();
    }
    let number = config.text.lines().position(|found| found.starts_with("GGML_HEDGEROW_CMAKE")).unwrap_or(0);
    vec![config.finding(number + 1, &format!("crates/hedgerow-llama/cmake has changed: write `{line}`"))]
}

/// The 64-bit FNV-1a checksum.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn found(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_tabs_and_trailing_blanks_with_their_lines() {
        let files =
            [file("a.rs", "fine\n\tindented\nblank \n"), file("b.rs", "no end"), file("c.tsv", "a\tb\n")];
        let expected = [
            "a.rs:2: a tab",
            "a.rs:3: a blank at the end of the line",
            "b.rs:1: no line break at the end of the file",
        ];
        assert_eq!(found(&blanks(&files)), expected);
    }

    #[test]
    fn a_long_file_passes_only_with_a_reason() {
        let long = "//\n".repeat(LINES_MAX + 1);
        let excused = format!("//! {LONG_FILE_REASON}it is a table.\n{long}");
        let findings = long_files(&[file("a.rs", &long), file("b.rs", &excused), file("c.rs", "//\n")]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "a.rs");
    }

    #[test]
    fn a_cited_section_must_exist() {
        let model = file("docs/design/model.md", "# The model\n## §1 Rates\n## 2. Energy\n### 2.1 Peak\n");
        let code = file("crates/x/src/a.rs", "/// model.md §1, §2.1\n/// model.md §3\n");
        assert_eq!(
            found(&model_tags(&[model, code])),
            ["crates/x/src/a.rs:2: docs/design/model.md has no section 3"]
        );
    }

    #[test]
    fn a_crate_is_not_named_by_a_longer_name() {
        let map = file("ARCHITECTURE.md", "`crates/hedgerow-core` decides\n");
        let files =
            [map, file("crates/hedgerow/Cargo.toml", ""), file("crates/hedgerow-core/Cargo.toml", "")];
        assert_eq!(found(&crate_map(&files)), ["ARCHITECTURE.md:1: does not name crates/hedgerow"]);
    }

    #[test]
    fn a_registry_is_found_in_any_case_except_in_the_lock_file() {
        let line = format!("see https://{}/x\n", registry_host_names()[0].to_uppercase());
        let findings = registry_hosts(&[file("docs/a.md", &line), file("Cargo.lock", &line)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "docs/a.md");
    }

    #[test]
    fn a_change_of_llama_cpps_build_files_requires_a_new_checksum() {
        let cmake = |text: &str| file("crates/hedgerow-llama/cmake/llama.cmake", text);
        let config =
            |sum: &str| file(".cargo/config.toml", &format!("[env]\nGGML_HEDGEROW_CMAKE = \"{sum}\"\n"));
        let asked = llama_cmake(&[cmake("a"), config("0")]);
        assert_eq!((asked.len(), asked[0].line), (1, 2));
        let wanted = asked[0].what.split('"').nth(1).unwrap();
        assert_eq!(llama_cmake(&[cmake("a"), config(wanted)]), []);
        assert_eq!(llama_cmake(&[cmake("b"), config(wanted)]).len(), 1);
    }
}
