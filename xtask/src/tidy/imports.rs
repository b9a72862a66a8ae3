//! Checks on which part of a crate imports which: the layers of the core, and circles between the parts of any crate.
//!
//! A part is a folder or a file directly under a crate's `src`. Tests are left out: they may use everything.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding};

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
pub(super) fn layers(files: &[File]) -> Vec<Finding> {
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
pub(super) fn circles(files: &[File]) -> Vec<Finding> {
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

/// Every path to another part, by `crate::` or `super::`, of every crate's sources.
fn imports(files: &[File]) -> Vec<Import<'_>> {
    let sources: Vec<(&File, &str, &str)> = files.iter().filter_map(source).collect();
    let parts: BTreeSet<(&str, &str)> = sources.iter().map(|&(_, of, path)| (of, part(path))).collect();
    let mut imports = Vec::new();
    for (file, of, path) in sources {
        let from = part(path);
        for (line, to) in used(&file.text, depth(path)) {
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

/// How many modules deep a file is: `a.rs` and `a/mod.rs` are one below the root.
fn depth(path: &str) -> usize {
    path.matches('/').count() + usize::from(!path.ends_with("/mod.rs"))
}

/// The folder or the file, without its ending, that a path under `src` begins with.
fn part(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The parts that a file's paths begin with, by `crate::` or by a `super::` for each of its `depth` modules, with their
/// lines, down to the tests in the file.
fn used(text: &str, depth: usize) -> Vec<(usize, &str)> {
    let code = until_tests(text);
    let root = "super::".repeat(depth);
    let by_crate = code.match_indices("crate::").map(|(at, prefix)| (at, at + prefix.len()));
    let by_super = code.match_indices(root.as_str()).map(|(at, prefix)| (at, at + prefix.len()));
    // Of a longer run of `super::` neither its end nor its beginning is a path of its own.
    let is_whole = |&(start, end): &(usize, usize)| {
        !code[..start].ends_with("super::") && !code[end..].starts_with("super::")
    };
    let mut found = Vec::new();
    for (start, end) in by_crate.chain(by_super.filter(is_whole)) {
        let before = &code[..start];
        let is_comment = before.rsplit('\n').next().is_some_and(|line| line.contains("//"));
        if !is_comment {
            let line = before.matches('\n').count() + 1;
            found.extend(first_names(&code[end..]).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// A file's text before its inline module of tests. A test module in a file of its own is only declared there, and other
/// items for tests are as good as code.
fn until_tests(text: &str) -> &str {
    const FOR_TESTS: &str = "#[cfg(test)]\n";
    let is_inline = |&(at, _): &(usize, &str)| {
        let item = text[at + FOR_TESTS.len()..].lines().find(|line| !line.starts_with("#["));
        item.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    let end = text.match_indices(FOR_TESTS).find(is_inline).map_or(text.len(), |(at, _)| at);
    &text[..end]
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
    use super::super::tests::{file, found};
    use super::*;

    #[test]
    fn a_stage_of_the_core_uses_the_model_and_the_stages_after_it_only() {
        let core = |path: &str, text: &str| file(&format!("crates/hedgerow-core/src/{path}"), text);
        let files = [
            core("model/node.rs", "use crate::engine::CostModel;\n"),
            core("scheduler/plan.rs", "use crate::model::node::Node;\nuse crate::engine::Step;\n"),
            core(
                "engine/mod.rs",
                "// crate::queue\nuse crate::scheduler::Plan;\n#[cfg(test)]\nmod tests {\nuse crate::queue;\n",
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
            file("crates/a/src/one.rs", "#[cfg(test)]\nmod one_tests;\nuse crate::two::X;\n"),
            file("crates/a/src/two/mod.rs", "fn f() -> super::three::Y {}\n"),
            file("crates/a/src/three.rs", "use crate::{\n    four::{self, F},\n    one,\n};\n"),
            file("crates/a/src/four.rs", ""),
            file("crates/a/src/one_tests.rs", "use crate::four;\n"),
            file("crates/b/src/four.rs", "use crate::one;\n"),
            file("crates/b/src/one.rs", ""),
            file("crates/c/src/one.rs", "use crate::two;\n"),
            file("crates/c/src/two.rs", "use crate::one;\n"),
        ];
        let expected = [
            "crates/a/src/one.rs:3: `one` uses `two`, which uses `one` in turn",
            "crates/a/src/two/mod.rs:1: `two` uses `three`, which uses `two` in turn",
        ];
        assert_eq!(found(&circles(&files)), expected);
    }
}
