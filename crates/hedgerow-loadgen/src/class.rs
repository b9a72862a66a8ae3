//! Request classes: their lengths, deadlines, quality floors and values.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use hedgerow_workload::hint::hinted;
use hedgerow_workload::hint::nearest;
use serde::Deserialize;

/// `config/classes.toml`: the default classes.
pub const BUILT_IN: &str = include_str!("../../../config/classes.toml");

/// The longest prompt or output, in tokens.
const TOKENS_MAX: u32 = 1_000_000;
/// The longest deadline, a day as in the server.
const DEADLINE_MS_MAX: u64 = 86_400_000;
/// The range of parts and values, which are relative weights; beyond it their sums would lose the small ones.
const WEIGHTS: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
const WEIGHTS_RANGE: &str = "from 1e-6 to 1e6";

/// A request class.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its name in tables.
    pub name: String,
    /// Its fraction of all requests; the fractions of all classes add up to 1.
    pub part: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: RangeInclusive<u32>,
    /// Tokens of the output.
    pub output_tokens: RangeInclusive<u32>,
    /// End-to-end deadline.
    pub deadline: Option<Duration>,
    /// Quality floor.
    pub min_quality: Option<f64>,
    /// The value of an answer in time.
    pub value: f64,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClasses {
    class: Vec<RawClass>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClass {
    name: String,
    part: f64,
    prompt_tokens: [u32; 2],
    output_tokens: [u32; 2],
    deadline_ms: Option<u64>,
    min_quality: Option<f64>,
    value: Option<f64>,
}

impl Class {
    /// The classes of `config/classes.toml`.
    pub fn built_in() -> Vec<Self> {
        Self::parse(BUILT_IN, "config/classes.toml").expect("a test reads the embedded file")
    }

    /// Reads a class file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or as [`Class::parse`].
    pub fn load(path: &Path) -> anyhow::Result<Vec<Self>> {
        let place = path.display().to_string();
        let text = hedgerow_workload::read_text(path).map_err(|error| {
            hinted(
                format!("cannot read the classes in {place}: {error}"),
                "check the path given by --classes",
            )
        })?;
        Self::parse(&text, &place)
    }

    /// Parses classes from a file's text; `place` is the file's name in errors.
    ///
    /// # Errors
    ///
    /// When it is not TOML, or has an unknown key or an invalid value.
    pub fn parse(text: &str, place: &str) -> anyhow::Result<Vec<Self>> {
        let raw: RawClasses = toml::from_str(text).map_err(|error| {
            hinted(format!("in {place}: {}", error.to_string().trim_end()), hint_for(error.message()))
        })?;
        let mut classes: Vec<Self> = Vec::new();
        for raw in raw.class {
            let class = raw.check().map_err(|(key, value, must_be)| {
                hinted(
                    format!("in {place}: `{key}` is {value}, but must be {must_be}"),
                    format!("change `{key}`"),
                )
            })?;
            if classes.iter().any(|other| other.name == class.name) {
                return Err(hinted(
                    format!("in {place}: two classes are called `{}`", class.name),
                    "give each class a name of its own",
                ));
            }
            classes.push(class);
        }
        if classes.is_empty() {
            return Err(hinted(format!("in {place}: there is no class"), "add a [[class]]"));
        }
        let all: f64 = classes.iter().map(|class| class.part).sum();
        classes.iter_mut().for_each(|class| class.part /= all);
        Ok(classes)
    }

    /// Returns the index of the class whose range of output tokens contains the given number, or else is closest to
    /// it; the first of several.
    pub fn closest(classes: &[Self], output_tokens: u32) -> usize {
        let distance = |class: &Self| {
            let below = class.output_tokens.start().saturating_sub(output_tokens);
            below + output_tokens.saturating_sub(*class.output_tokens.end())
        };
        (0..classes.len()).min_by_key(|&index| distance(&classes[index])).unwrap_or(0)
    }
}

impl RawClass {
    /// Returns the class; or the key in error, its value and what that must be.
    fn check(self) -> Result<Class, (&'static str, String, String)> {
        let wrong = |key, value: String, must_be: &str| Err((key, value, must_be.to_owned()));
        if self.name.is_empty() || self.name == "all" {
            return wrong(
                "name",
                format!("{:?}", self.name),
                "a name other than `all`, which is every class",
            );
        }
        if !WEIGHTS.contains(&self.part) {
            return wrong("part", self.part.to_string(), WEIGHTS_RANGE);
        }
        let range = |key, [least, most]: [u32; 2]| match least >= 1 && least <= most && most <= TOKENS_MAX {
            true => Ok(least..=most),
            false => Err((
                key,
                format!("[{least}, {most}]"),
                format!("[least, most] with 1 <= least <= most <= {TOKENS_MAX}"),
            )),
        };
        if let Some(deadline) = self.deadline_ms.filter(|ms| !(1..=DEADLINE_MS_MAX).contains(ms)) {
            return wrong("deadline_ms", deadline.to_string(), "from 1 to 86400000, which is a day");
        }
        if let Some(quality) = self.min_quality.filter(|quality| !(0.0..=1.0).contains(quality)) {
            return wrong("min_quality", quality.to_string(), "from 0 to 1");
        }
        let value = self.value.unwrap_or(1.0);
        if !WEIGHTS.contains(&value) {
            return wrong("value", value.to_string(), WEIGHTS_RANGE);
        }
        Ok(Class {
            prompt_tokens: range("prompt_tokens", self.prompt_tokens)?,
            output_tokens: range("output_tokens", self.output_tokens)?,
            name: self.name,
            part: self.part,
            deadline: self.deadline_ms.map(Duration::from_millis),
            min_quality: self.min_quality,
            value,
        })
    }
}

/// Returns the hint for a parser's error.
fn hint_for(message: &str) -> String {
    let all = "`hedgerow bench serve --print-classes` prints a file with every key";
    // Serde writes: unknown field `prat`, expected one of `name`, `part`
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(name), true) = (quoted.next(), message.starts_with("unknown field")) else { return all.into() };
    let known: Vec<String> = quoted.map(str::to_owned).collect();
    nearest(name, &known).map_or_else(|| all.into(), |nearest| format!("did you mean `{nearest}`? {all}"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const ONE: &str = "[[class]]\nname = \"a\"\npart = 1\nprompt_tokens = [1, 2]\noutput_tokens = [3, 4]\n";

    fn check_error(text: &str, message: Expect) {
        message.assert_eq(&Class::parse(text, "x.toml").unwrap_err().to_string());
    }

    #[test]
    fn the_built_in_file_is_valid() {
        let classes = Class::built_in();
        let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
        assert_eq!(names, ["voice", "chat", "report"]);
        assert!((classes.iter().map(|class| class.part).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(classes[1].deadline, Some(Duration::from_secs(8)));
        assert_eq!((classes[2].min_quality, classes[2].value), (None, 1.0));
    }

    #[test]
    fn parts_are_relative_weights() {
        let two = format!("{ONE}{}", ONE.replace("\"a\"", "\"b\"").replace("part = 1", "part = 3"));
        let parts: Vec<f64> = Class::parse(&two, "").unwrap().iter().map(|class| class.part).collect();
        assert_eq!(parts, [0.25, 0.75]);
    }

    #[test]
    fn the_error_for_an_unknown_key_suggests_the_nearest_one() {
        let error = Class::parse(&ONE.replace("part", "prat"), "x.toml").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("in x.toml") && text.contains("line 3") && text.contains("`prat`"), "{text}");
        assert!(
            hint_for("unknown field `prat`, expected one of `name`, `part`, `value`").contains("mean `part`")
        );
    }

    #[test]
    fn the_error_names_an_invalid_value() {
        check_error(
            &ONE.replace("[1, 2]", "[2, 1]"),
            expect![
                "in x.toml: `prompt_tokens` is [2, 1], but must be [least, most] with 1 <= least <= most <= 1000000"
            ],
        );
        check_error(
            &ONE.replace("part = 1", "part = 0"),
            expect!["in x.toml: `part` is 0, but must be from 1e-6 to 1e6"],
        );
        check_error(
            &format!("{ONE}min_quality = 1.5\n"),
            expect!["in x.toml: `min_quality` is 1.5, but must be from 0 to 1"],
        );
        check_error(
            &format!("{ONE}deadline_ms = 0\n"),
            expect!["in x.toml: `deadline_ms` is 0, but must be from 1 to 86400000, which is a day"],
        );
        check_error(&format!("{ONE}{ONE}"), expect!["in x.toml: two classes are called `a`"]);
        check_error("class = []", expect!["in x.toml: there is no class"]);
        check_error(
            &ONE.replace("\"a\"", "\"all\""),
            expect![[
                r#"in x.toml: `name` is "all", but must be a name other than `all`, which is every class"#
            ]],
        );
    }

    #[test]
    fn an_output_length_belongs_to_the_class_with_the_closest_range() {
        let classes = Class::built_in();
        // voice 12 to 24, chat 32 to 96, report 150 to 400.
        let closest =
            [1, 24, 27, 28, 30, 96, 122, 123, 124, 9000].map(|tokens| Class::closest(&classes, tokens));
        assert_eq!(closest, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }
}
