//! Checks on the links of the documents: every file and heading that one names exists, and every page is in the site.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding};

/// The folder whose pages are the site, and its table of contents.
const SITE: &str = "docs/";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Every relative link of a Markdown file leads to a file, and to a heading if it names one; a page of the site links to
/// other pages of the site only, because nothing else is published with it.
pub(super) fn links(files: &[File]) -> Vec<Finding> {
    let texts: BTreeMap<&str, &str> =
        files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, link) in links_of(&file.text) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let goal = if path.is_empty() { file.path.clone() } else { joined(&file.path, path) };
            let is_folder = || texts.keys().any(|known| known.starts_with(&format!("{goal}/")));
            let what = match texts.get(goal.as_str()) {
                None if is_folder() || is_picture(&goal) => continue,
                None => format!("links to {goal}, which is not there"),
                Some(_) if file.path.starts_with(SITE) && !goal.starts_with(SITE) => {
                    format!("links to {goal}, which is not part of the site")
                }
                Some(text) if !heading.is_empty() && !anchors(text).contains(heading) => {
                    format!("links to #{heading}, a heading that {goal} does not have")
                }
                Some(_) => continue,
            };
            findings.push(file.finding(line, &what));
        }
    }
    findings
}

/// Every page of the site is in its table of contents.
pub(super) fn summary(files: &[File]) -> Vec<Finding> {
    let Some(summary) = files.iter().find(|file| file.path == SUMMARY) else { return Vec::new() };
    let named: BTreeSet<String> =
        links_of(&summary.text).into_iter().map(|(_, link)| joined(SUMMARY, link)).collect();
    let is_page = |file: &&File| file.path.starts_with(SITE) && file.path.ends_with(".md");
    let is_left_out = |file: &&File| file.path != SUMMARY && !named.contains(&file.path);
    let left_out = files.iter().filter(is_page).filter(is_left_out);
    left_out.map(|page| page.finding(1, &format!("is not in {SUMMARY}"))).collect()
}

/// Pictures are not text, so they are not among the files that are read here.
fn is_picture(path: &str) -> bool {
    [".png", ".jpg", ".gif"].iter().any(|ending| path.ends_with(ending))
}

/// The relative links `[text](goal)` of a Markdown text, with their lines; none in code.
fn links_of(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        if is_code {
            continue;
        }
        // Every second piece is between backticks.
        let prose = line.split('`').step_by(2);
        for after in prose.flat_map(|piece| piece.split("](").skip(1)) {
            let goal = after.split([')', ' ']).next().unwrap_or("");
            if !goal.is_empty() && !goal.contains(':') {
                found.push((index + 1, goal));
            }
        }
    }
    found
}

/// A path that a file names, seen from the repository's root.
fn joined(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The names of a text's headings in links, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else { continue };
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let letters = title.chars().filter(|&letter| letter.is_alphanumeric() || " -_".contains(letter));
        let plain: String = letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let again = (1..).map(|count| format!("{plain}-{count}"));
        let free = std::iter::once(plain.clone()).chain(again).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, found};
    use super::*;

    #[test]
    fn a_link_leads_to_a_file_of_the_site_and_to_a_heading_of_it() {
        let files = [
            file("README.md", "[a](docs/a/one.md#the-second-part) [b](docs/) [c](https://x.y/none.md)\n"),
            file(
                "docs/a/one.md",
                "## The second part\n[x](../b.md) `[y](none.md)`\n```\n[z](none.md)\n```\n",
            ),
            file("docs/b.md", "[x](#none)\n[y](a/two.md)\n[z](../README.md) ![p](p.png)\n"),
        ];
        let expected = [
            "docs/b.md:1: links to #none, a heading that docs/b.md does not have",
            "docs/b.md:2: links to docs/a/two.md, which is not there",
            "docs/b.md:3: links to README.md, which is not part of the site",
        ];
        assert_eq!(found(&links(&files)), expected);
    }

    #[test]
    fn a_page_that_the_table_of_contents_lacks_is_found() {
        let files = [
            file("docs/SUMMARY.md", "- [One](a/one.md)\n"),
            file("docs/a/one.md", ""),
            file("docs/a/two.md", ""),
            file("README.md", ""),
        ];
        assert_eq!(found(&summary(&files)), ["docs/a/two.md:1: is not in docs/SUMMARY.md"]);
    }

    #[test]
    fn headings_of_one_name_are_numbered() {
        let names = anchors("# A `b` (c)\n## A `b` (c)\n```\n# code\n```\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a-b-c", "a-b-c-1"]);
    }
}
