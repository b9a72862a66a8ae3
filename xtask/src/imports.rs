//! Checks on which part of a crate imports which: the layers of the core, and circles between the parts of any crate.
//!
//! A part is a folder or a file directly under a crate's `src`. Tests are left out: they may use everything.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::{File, Finding};

/// The core's stages in the order of the pipeline: each uses itself, the model, and those after it.
const STAGES: [&str; 6] = ["queue", "scheduler", "allocator", "quantization", "engine", "output"];
const CORE: &str = "hedgerow-core";
/// The vocabulary of the core, which uses nothing but itself.
const MODEL: &str = "model";
/// The part of the core that uses all others.
const PIPELINE: &str = "pipeline";

/// An import of one part of a crate by another.
struct Import<'a> {
    file: &'a File,
    line: usize,
    of: &'a str,
    from: &'a str,
    to: &'a str,
}

/// In the core, the model uses only itself, and a stage uses the model and the stages after it.
pub(crate) fn layers(files: &[File]) -> Vec<Finding> {
    let allowed = |import: &Import<'_>| {
        let stage = |part: &str| STAGES.iter().position(|&stage| stage == part);
        match (stage(import.from), stage(import.to)) {
            _ if import.from == PIPELINE => true,
            (Some(_), None) => import.to == MODEL,
            (Some(from), Some(to)) => from <= to,
            (None, _) => false,
        }
    };
    let is_wrong = |import: &Import<'_>| import.of == CORE && !allowed(import);
    let finding = |import: Import<'_>| {
        let what = format!(
            "`{}` may not use `{}`: the model uses only itself, a stage the model and the stages after it",
            import.from, import.to
        );
        import.file.finding(import.line, &what)
    };
    imports(files).into_iter().filter(is_wrong).map(finding).collect()
}

/// No folder of a crate is imported by a part that it imports itself, directly or through others. Circles among the
/// files of one folder are left alone.
pub(crate) fn circles(files: &[File]) -> Vec<Finding> {
    let all = imports(files);
    let folders: BTreeSet<(&str, &str)> = files
        .iter()
        .filter_map(source)
        .filter_map(|(_, of, path)| Some((of, path.split_once('/')?.0)))
        .collect();
    let crosses = |import: &&Import<'_>| {
        folders.contains(&(import.of, import.from)) || folders.contains(&(import.of, import.to))
    };
    let mut uses: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for import in &all {
        uses.entry((import.of, import.from)).or_default().insert(import.to);
    }
    let reaches = |of: &str, start: &str, goal: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(part) = open.pop() {
            if part == goal {
                return true;
            }
            if seen.insert(part) {
                open.extend(uses.get(&(of, part)).into_iter().flatten());
            }
        }
        false
    };
    let closes = |import: &&Import<'_>| reaches(import.of, import.to, import.from);
    let finding = |import: &Import<'_>| {
        let what = format!("`{}` uses `{}`, which uses `{0}` in turn", import.from, import.to);
        import.file.finding(import.line, &what)
    };
    all.iter().filter(crosses).filter(closes).map(finding).collect()
}

/// Every `crate::PART` of every crate's sources where PART is another part of that crate.
fn imports(files: &[File]) -> Vec<Import<'_>> {
    let sources: Vec<(&File, &str, &str)> = files.iter().filter_map(source).collect();
    let parts: BTreeSet<(&str, &str)> = sources.iter().map(|&(_, of, path)| (of, part(path))).collect();
    let mut imports = Vec::new();
    for (file, of, path) in sources {
        let from = part(path);
        for (line, to) in used(&file.text) {
            if to != from && parts.contains(&(of, to)) {
                imports.push(Import { file, line, of, from, to });
            }
        }
    }
    imports
}

/// A source file that is not a test, its crate and its path under `src`; not the root, which names every part.
fn source(file: &File) -> Option<(&File, &str, &str)> {
    let (of, path) = file.path.strip_prefix("crates/")?.split_once("/src/")?;
    let is_test = path.ends_with("tests.rs") || path.contains("tests/");
    let is_root = matches!(path, "main.rs" | "lib.rs");
    (path.ends_with(".rs") && !is_test && !is_root).then_some((file, of, path))
}

/// The folder or the file, without its ending, that a path under `src` begins with.
fn part(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The first name of each path that begins with `crate::`, groups included, with its line, down to the tests in the file.
fn used(text: &str) -> Vec<(usize, &str)> {
    let until_tests = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut found = Vec::new();
    for (at, prefix) in until_tests.match_indices("crate::") {
        let before = &until_tests[..at];
        let is_comment = before.rsplit('\n').next().is_some_and(|line| line.contains("//"));
        if is_comment {
            continue;
        }
        let line = before.matches('\n').count() + 1;
        let after = &until_tests[at + prefix.len()..];
        found.extend(first_names(after).into_iter().map(|name| (line, name)));
    }
    found
}

/// The name that a path begins with, or those that the paths of a group begin with.
fn first_names(path: &str) -> Vec<&str> {
    let name = |path: &'_ str| {
        path.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(path.len())
    };
    let Some(group) = path.strip_prefix('{') else { return vec![&path[..name(path)]] };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut is_start = true;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            letter if is_start && (letter.is_alphanumeric() || letter == '_') => {
                names.push(&group[at..at + name(&group[at..])]);
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn found(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stage_of_the_core_uses_the_model_and_the_stages_after_it_only() {
        let core = |path: &str, text: &str| file(&format!("crates/hedgerow-core/src/{path}"), text);
        let files = [
            core("model/node.rs", "use crate::engine::CostModel;\n"),
            core("scheduler/plan.rs", "use crate::model::node::Node;\nuse crate::engine::Step;\n"),
            core(
                "engine/mod.rs",
                "// crate::queue\nuse crate::scheduler::Plan;\n#[cfg(test)]\nuse crate::queue;\n",
            ),
            core("queue/mod.rs", ""),
            core("pipeline/mod.rs", "use crate::queue::Queue;\n"),
        ];
        let expected = [
            "crates/hedgerow-core/src/model/node.rs:1: `model` may not use `engine`: the model uses only itself, \
             a stage the model and the stages after it",
            "crates/hedgerow-core/src/engine/mod.rs:2: `engine` may not use `scheduler`: the model uses only itself, \
             a stage the model and the stages after it",
        ];
        assert_eq!(found(&layers(&files)), expected);
    }

    #[test]
    fn a_circle_through_a_folder_is_found_also_through_others() {
        let files = [
            file("crates/a/src/one.rs", "use crate::two::X;\n"),
            file("crates/a/src/two/mod.rs", "fn f() -> crate::three::Y {}\n"),
            file("crates/a/src/three.rs", "use crate::{\n    four::{self, F},\n    one,\n};\n"),
            file("crates/a/src/four.rs", ""),
            file("crates/a/src/one_tests.rs", "use crate::four;\n"),
            file("crates/b/src/four.rs", "use crate::one;\n"),
            file("crates/b/src/one.rs", ""),
            file("crates/c/src/one.rs", "use crate::two;\n"),
            file("crates/c/src/two.rs", "use crate::one;\n"),
        ];
        let expected = [
            "crates/a/src/one.rs:1: `one` uses `two`, which uses `one` in turn",
            "crates/a/src/two/mod.rs:1: `two` uses `three`, which uses `two` in turn",
        ];
        assert_eq!(found(&circles(&files)), expected);
    }
}
