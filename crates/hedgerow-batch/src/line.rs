//! The lines of a batch's input: what each must be.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The paths that the lines of a batch may name.
pub const ENDPOINTS: [&str; 2] = ["/v1/chat/completions", "/v1/completions"];

/// The longest `custom_id`, in bytes.
const CUSTOM_ID_BYTES: usize = 512;

/// A fault of a line of the input, as OpenAI's API reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    /// A name for programs.
    pub code: String,
    /// The line, counted from 1; `None`: the whole file.
    pub line: Option<i64>,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The field to change.
    pub param: Option<String>,
}

impl LineError {
    pub(crate) fn of_file(code: &str, message: String) -> Self {
        Self { code: code.into(), line: None, message, param: None }
    }

    pub(crate) fn of_line(code: &str, line: i64, message: String, param: Option<&str>) -> Self {
        Self { code: code.into(), line: Some(line), message, param: param.map(Into::into) }
    }
}

/// A line of the input, checked.
#[derive(Debug)]
pub(crate) struct InputLine<'a> {
    pub(crate) custom_id: Cow<'a, str>,
    /// The request's body, as it was written.
    pub(crate) body: &'a RawValue,
}

/// A line as it is written. Fields that are not known are skipped.
#[derive(Deserialize)]
struct WireLine<'a> {
    #[serde(borrow)]
    custom_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// What is looked at in a body before it is run.
#[derive(Deserialize)]
struct WireBody {
    stream: Option<bool>,
}

/// Checks a line of a batch for an endpoint.
///
/// # Errors
///
/// Its first fault.
pub(crate) fn check<'a>(line: &'a [u8], number: i64, endpoint: &str) -> Result<InputLine<'a>, LineError> {
    let wrong = |code: &str, message: String, param| LineError::of_line(code, number, message, param);
    let missing = |field| {
        let message = format!("`{field}` is missing");
        wrong("missing_required_parameter", message, Some(field))
    };
    let line: WireLine<'a> = object(line).map_err(|message| wrong("invalid_json_line", message, None))?;
    let custom_id = line.custom_id.ok_or_else(|| missing("custom_id"))?;
    if custom_id.is_empty() || custom_id.len() > CUSTOM_ID_BYTES {
        let message =
            format!("`custom_id` has {} bytes, but must have 1 to {CUSTOM_ID_BYTES}", custom_id.len());
        return Err(wrong("invalid_custom_id", message, Some("custom_id")));
    }
    let method = line.method.ok_or_else(|| missing("method"))?;
    if method != "POST" {
        let message = format!("`method` is `{}`, but must be POST", shown(&method));
        return Err(wrong("invalid_method", message, Some("method")));
    }
    let url = line.url.ok_or_else(|| missing("url"))?;
    if url != endpoint {
        let message = format!("`url` is `{}`, but must be the batch's endpoint, {endpoint}", shown(&url));
        return Err(wrong("invalid_url", message, Some("url")));
    }
    let body = line.body.ok_or_else(|| missing("body"))?;
    let fields: WireBody = object(body.get().as_bytes())
        .map_err(|message| wrong("invalid_body", format!("`body`: {message}"), Some("body")))?;
    if fields.stream == Some(true) {
        let message = "`body.stream` is true, but the answer of a line is stored as a whole".into();
        return Err(wrong("unsupported_parameter", message, Some("body.stream")));
    }
    Ok(InputLine { custom_id, body })
}

/// Reads a JSON object, or says why it is none.
fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    // Serde reads a list as a struct too.
    let is_object = text.trim_ascii_start().first() == Some(&b'{');
    if !is_object {
        return Err("it is no JSON object".into());
    }
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data => format!("a field has a wrong type: {error}"),
        Category::Io | Category::Syntax | Category::Eof => format!("it is no JSON: {error}"),
    })
}

/// A value as messages show it: its beginning.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Cuts a file that comes in parts into lines; of each it knows where in the file it is.
#[derive(Debug)]
pub(crate) struct LineReader {
    /// The line so far.
    line: Vec<u8>,
    /// Where the line begins in the file.
    start: usize,
    /// The number of the line, from 1.
    number: i64,
    bytes_max: usize,
    /// The line's length; more than `line` holds if the line is longer than allowed.
    length: usize,
}

/// A line of a file.
#[derive(Debug)]
pub(crate) struct RawLine<'a> {
    /// `None`: the line is longer than allowed.
    pub(crate) bytes: Option<&'a [u8]>,
    pub(crate) place: Range<usize>,
    pub(crate) number: i64,
}

/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl LineReader {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { line: Vec::new(), start: 0, number: 1, bytes_max, length: 0 }
    }

    /// Reads a part of the file. Lines without anything but blanks are counted and skipped.
    pub(crate) fn read<E>(
        &mut self,
        part: &[u8],
        take: &mut impl FnMut(RawLine<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = part;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.add(&rest[..end]);
            self.end(take)?;
            self.start += 1;
            rest = &rest[end + 1..];
        }
        self.add(rest);
        Ok(())
    }

    /// Takes the last line, which may lack a line break.
    pub(crate) fn end<E>(&mut self, take: &mut impl FnMut(RawLine<'_>) -> Result<(), E>) -> Result<(), E> {
        let place = self.start..self.start + self.length;
        let is_whole = self.length <= self.bytes_max;
        let is_first = self.number == 1;
        let mark = if is_first && self.line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let bytes = &self.line[mark..];
        let taken = if is_whole && bytes.trim_ascii().is_empty() {
            Ok(())
        } else {
            let place = place.start + mark..place.end;
            take(RawLine { bytes: is_whole.then_some(bytes), place, number: self.number })
        };
        self.start = place.end;
        self.number += 1;
        self.length = 0;
        self.line.clear();
        taken
    }

    fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if self.length <= self.bytes_max {
            self.line.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAT: &str = ENDPOINTS[0];

    fn fault(line: &str) -> (String, Option<String>) {
        let error = check(line.as_bytes(), 7, CHAT).unwrap_err();
        assert_eq!(error.line, Some(7));
        (error.code, error.param)
    }

    #[test]
    fn a_line_keeps_its_body_as_it_was_written() {
        let line = r#" {"custom_id":"a\u0062","method":"POST","url":"/v1/chat/completions","more":1,
            "body":{ "seed":18446744073709551615, "x": 1.0e2 }}"#;
        let read = check(line.as_bytes(), 1, CHAT).unwrap();
        assert_eq!(read.custom_id, "ab");
        assert_eq!(read.body.get(), r#"{ "seed":18446744073709551615, "x": 1.0e2 }"#);
    }

    #[test]
    fn each_fault_of_a_line_is_named() {
        let line = |custom_id: &str, method: &str, url: &str, body: &str| {
            format!(r#"{{"custom_id":{custom_id},"method":{method},"url":{url},"body":{body}}}"#)
        };
        let url = format!("{CHAT:?}");
        let long = format!("{:?}", "x".repeat(CUSTOM_ID_BYTES + 1));
        let faults = [
            (r#"{"custom_id":"#.to_owned(), "invalid_json_line", None),
            (r#"["a","POST"]"#.to_owned(), "invalid_json_line", None),
            ("{}".to_owned(), "missing_required_parameter", Some("custom_id")),
            (line("1", r#""POST""#, &url, "{}"), "invalid_json_line", None),
            (line(r#""""#, r#""POST""#, &url, "{}"), "invalid_custom_id", Some("custom_id")),
            (line(&long, r#""POST""#, &url, "{}"), "invalid_custom_id", Some("custom_id")),
            (line(r#""a""#, r#""GET""#, &url, "{}"), "invalid_method", Some("method")),
            (line(r#""a""#, r#""POST""#, r#""/v1/completions""#, "{}"), "invalid_url", Some("url")),
            (line(r#""a""#, r#""POST""#, &url, "[null]"), "invalid_body", Some("body")),
            (line(r#""a""#, r#""POST""#, &url, "null"), "missing_required_parameter", Some("body")),
            (line(r#""a""#, r#""POST""#, &url, r#"{"stream":1}"#), "invalid_body", Some("body")),
            (
                line(r#""a""#, r#""POST""#, &url, r#"{"stream":true}"#),
                "unsupported_parameter",
                Some("body.stream"),
            ),
        ];
        for (line, code, param) in faults {
            assert_eq!(fault(&line), (code.to_owned(), param.map(str::to_owned)), "{line}");
        }
    }

    proptest! {
        /// However the file is cut into parts, its lines and their places are the same.
        #[test]
        fn lines_do_not_depend_on_the_parts_that_a_file_comes_in(
            text in "[ab \n\r]{0,60}",
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut found = Vec::new();
            let mut take = |line: RawLine<'_>| {
                if let Some(line_bytes) = line.bytes {
                    assert_eq!(line_bytes, &bytes[line.place.clone()]);
                }
                found.push((line.number, line.bytes.is_some(), line.place));
                Ok::<(), ()>(())
            };
            let mut reader = LineReader::new(5);
            for pair in cuts.windows(2) {
                reader.read(&bytes[pair[0]..pair[1]], &mut take).unwrap();
            }
            reader.end(&mut take).unwrap();
            let mut expected = Vec::new();
            let mut start = 0;
            for (index, line) in text.split('\n').enumerate() {
                let is_whole = line.len() <= 5;
                if !is_whole || !line.trim().is_empty() {
                    expected.push((index as i64 + 1, is_whole, start..start + line.len()));
                }
                start += line.len() + 1;
            }
            prop_assert_eq!(found, expected);
        }
    }
}
