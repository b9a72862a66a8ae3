//! Traces: recorded arrival times and lengths of requests.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime};
use serde::Deserialize;

use crate::text_file::read_text;

/// Traces embedded in the program, by name; `data/README.md` names their sources.
const BUILT_IN: [(&str, &str); 1] = [("azure-conv-2023", include_str!("../data/azure-conv-2023.csv"))];

/// Largest absolute time in seconds, about 3,000 years: larger ones are mistakes and would lose their fractions.
const TIME_S_MAX: f64 = 1e11;

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceRow {
    /// Arrival time after the first request, in seconds.
    pub at_s: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
}

/// A trace in order of time, starting at 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    rows: Vec<TraceRow>,
}

/// How a trace's lengths are scaled and limited for a small machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceFit {
    /// Factor of the prompt lengths.
    pub scale_prompt: f64,
    /// Factor of the answer lengths.
    pub scale_output: f64,
    /// Largest prompt length.
    pub max_prompt: u32,
    /// Largest answer length.
    pub max_output: u32,
}

/// The error of a trace file that cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot use the trace {}: {why}", path.display())]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub why: TraceFault,
}

/// What is wrong with a trace.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TraceFault {
    /// The file cannot be read.
    #[error("{message}")]
    Unreadable {
        /// The operating system's error message.
        message: String,
    },
    /// A line is invalid.
    #[error("line {line}: {message}")]
    Line {
        /// The line number.
        line: u64,
        /// The parser's error message.
        message: String,
    },
    /// A time cannot be parsed.
    #[error(
        "line {line}: `{found}` is not a time like 2023-11-16 18:15:46.68 or 2024-05-10 00:00:00.009930+00:00"
    )]
    Time {
        /// The line number.
        line: u64,
        /// The text found instead.
        found: String,
    },
    /// A time is a number outside the valid range.
    #[error("line {line}: the time {found} is not a number from -{TIME_S_MAX:e} to {TIME_S_MAX:e} seconds")]
    Number {
        /// The line number.
        line: u64,
        /// The number found, in seconds.
        found: String,
    },
    /// It has no requests.
    #[error("it is empty")]
    Empty,
    /// All requests have the same time, so it has no rate.
    #[error("all its requests come at once")]
    AtOnce,
}

impl TraceError {
    /// How to fix the error.
    pub fn hint(&self) -> &'static str {
        "give a CSV with TIMESTAMP,ContextTokens,GeneratedTokens (Azure) or arrival_timestamp,prompt_size,token_size \
         (Splitwise), or JSON lines with timestamp, input_length and output_length (Mooncake)"
    }
}

/// A line of Azure's LLM inference traces.
#[derive(Deserialize)]
struct Azure {
    #[serde(rename = "TIMESTAMP")]
    timestamp: String,
    #[serde(rename = "ContextTokens")]
    context_tokens: u32,
    #[serde(rename = "GeneratedTokens")]
    generated_tokens: u32,
}

/// A line of Splitwise's traces; other columns are ignored.
#[derive(Deserialize)]
struct Splitwise {
    /// Seconds.
    arrival_timestamp: f64,
    prompt_size: u32,
    token_size: u32,
}

/// A line of Mooncake's traces; its shared prefixes are ignored.
#[derive(Deserialize)]
struct Mooncake {
    /// Milliseconds.
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

impl Trace {
    /// Reads a trace file and detects its format: Azure's or Splitwise's CSV, or Mooncake's JSON lines.
    ///
    /// # Errors
    ///
    /// When it cannot be read or has none of these formats; the message names the line.
    pub fn load(path: &Path) -> Result<Self, TraceError> {
        let text = read_text(path).map_err(|error| TraceFault::Unreadable { message: error.to_string() });
        text.and_then(|text| Self::parse(&text)).map_err(|why| TraceError { path: path.to_owned(), why })
    }

    /// An embedded trace, by name.
    pub fn built_in(name: &Path) -> Option<Self> {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| Path::new(known) == name)?;
        Some(Self::parse(text).expect("a test reads it"))
    }

    /// Reads a trace from a file's text.
    ///
    /// # Errors
    ///
    /// As for [`Trace::load`].
    pub fn parse(text: &str) -> Result<Self, TraceFault> {
        let rows = if text.trim_start().starts_with('{') { json_lines(text) } else { csv(text) };
        Self::new(rows?)
    }

    /// Creates a trace of these requests.
    ///
    /// # Errors
    ///
    /// When there are too few requests, or all have the same time, so that there is no rate.
    pub fn new(mut rows: Vec<TraceRow>) -> Result<Self, TraceFault> {
        rows.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let (Some(first), Some(last)) = (rows.first().copied(), rows.last()) else {
            return Err(TraceFault::Empty);
        };
        if last.at_s <= first.at_s {
            return Err(TraceFault::AtOnce);
        }
        rows.iter_mut().for_each(|row| row.at_s -= first.at_s);
        Ok(Self { rows })
    }

    /// All requests in order of time.
    pub fn rows(&self) -> &[TraceRow] {
        &self.rows
    }

    /// Time from the first request to the last, in seconds.
    pub fn length_s(&self) -> f64 {
        self.rows.last().map_or(0.0, |row| row.at_s)
    }

    /// The mean arrival rate per second.
    pub fn rate_per_s(&self) -> f64 {
        (self.rows.len() - 1) as f64 / self.length_s()
    }
}

impl TraceFit {
    /// Prompt and answer length of a row; at least 1.
    pub fn lengths(&self, row: TraceRow) -> (u32, u32) {
        // The cast saturates for values too large for an integer.
        let fit = |tokens: u32, scale: f64, most: u32| {
            ((f64::from(tokens) * scale).round() as u32).clamp(1, most.max(1))
        };
        (
            fit(row.prompt_tokens, self.scale_prompt, self.max_prompt),
            fit(row.output_tokens, self.scale_output, self.max_output),
        )
    }
}

/// Reads Azure's or Splitwise's CSV, distinguished by the header.
fn csv(text: &str) -> Result<Vec<TraceRow>, TraceFault> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| at_line(&error, 1))?.clone();
    let is_splitwise = header.iter().any(|column| column == "arrival_timestamp");
    let mut rows = Vec::new();
    for record in reader.records() {
        // The header is line 1.
        let line = rows.len() as u64 + 2;
        let record = record.map_err(|error| at_line(&error, line))?;
        rows.push(if is_splitwise {
            let row: Splitwise = record.deserialize(Some(&header)).map_err(|error| at_line(&error, line))?;
            TraceRow {
                at_s: moment(line, row.arrival_timestamp)?,
                prompt_tokens: row.prompt_size,
                output_tokens: row.token_size,
            }
        } else {
            let row: Azure = record.deserialize(Some(&header)).map_err(|error| at_line(&error, line))?;
            let at_s = seconds(&row.timestamp).ok_or(TraceFault::Time { line, found: row.timestamp })?;
            TraceRow { at_s, prompt_tokens: row.context_tokens, output_tokens: row.generated_tokens }
        });
    }
    Ok(rows)
}

fn at_line(error: &csv::Error, line: u64) -> TraceFault {
    TraceFault::Line { line, message: error.to_string() }
}

fn json_lines(text: &str) -> Result<Vec<TraceRow>, TraceFault> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(index, line): (usize, &str)| {
        let number = index as u64 + 1;
        let wrong = |error: serde_json::Error| TraceFault::Line { line: number, message: error.to_string() };
        let line: Mooncake = serde_json::from_str(line).map_err(wrong)?;
        Ok(TraceRow {
            at_s: moment(number, line.timestamp / 1e3)?,
            prompt_tokens: line.input_length,
            output_tokens: line.output_length,
        })
    };
    lines.map(row).collect()
}

/// Checks that a time is in the valid range.
fn moment(line: u64, at_s: f64) -> Result<f64, TraceFault> {
    if at_s.abs() <= TIME_S_MAX {
        Ok(at_s)
    } else {
        Err(TraceFault::Number { line, found: at_s.to_string() })
    }
}

/// Parses Azure's times, without a zone (2023) or with one (2024), or ISO 8601, to seconds since 1970. A time without
/// a zone is taken as UTC, because only differences count.
fn seconds(text: &str) -> Option<f64> {
    const PLAIN: &str = "%Y-%m-%d %H:%M:%S%.f";
    const DATE_LETTERS: usize = "2023-11-16".len();
    let mut text = text.trim().to_owned();
    // Only the T after the date: `UTC` has a T too.
    if text.as_bytes().get(DATE_LETTERS) == Some(&b'T') {
        text.replace_range(DATE_LETTERS..=DATE_LETTERS, " ");
    }
    let plain = text.strip_suffix('Z').or_else(|| text.strip_suffix(" UTC")).unwrap_or(&text);
    let plain = NaiveDateTime::parse_from_str(plain, PLAIN).ok();
    let zoned = || {
        let formats = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"];
        let parsed = |format: &&str| DateTime::parse_from_str(&text, format).ok();
        formats.iter().find_map(parsed).map(|time| time.naive_utc())
    };
    let time = plain.or_else(zoned)?.and_utc();
    Some(time.timestamp() as f64 + f64::from(time.timestamp_subsec_nanos()) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(f64, u32, u32)> {
        let trace = Trace::parse(text).unwrap();
        let milliseconds = |row: &TraceRow| (row.at_s * 1e3).round() / 1e3;
        trace.rows().iter().map(|row| (milliseconds(row), row.prompt_tokens, row.output_tokens)).collect()
    }

    #[test]
    fn azure_csv_is_read_with_and_without_a_zone() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                    2023-11-16 23:59:59.5000000,374,44\n\
                    2023-11-17 00:00:01.2500000,396,109\n";
        assert_eq!(shown(text), [(0.0, 374, 44), (1.75, 396, 109)]);
        // The traces of 2024 have `+00:00`.
        for zone in ["+00:00", "+0000", "+00", " +00:00", "Z", " UTC", "-05:30"] {
            let zoned = text.replace("0000,", &format!("{zone},"));
            assert_eq!(shown(&zoned), shown(text), "{zone}");
            assert_eq!(shown(&zoned.replace("-16 ", "-16T")), shown(text), "{zone}, ISO 8601");
        }
    }

    #[test]
    fn time_zones_are_applied() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                    2024-05-10 00:00:00.009930+00:00,2162,5\n\
                    2024-05-10 02:00:01.009930+02:00,2399,6\n";
        assert_eq!(shown(text), [(0.0, 2162, 5), (1.0, 2399, 6)]);
    }

    #[test]
    fn a_file_of_each_kind_may_begin_with_a_byte_order_mark() {
        let path = std::env::temp_dir().join(format!("hedgerow-trace-{}", std::process::id()));
        for text in [
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 00:00:00,1,2\n2023-11-16 00:00:01,3,4\n",
            "arrival_timestamp,prompt_size,token_size\n0,1,2\n1,3,4\n",
            "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 2}\n\
             {\"timestamp\": 1000, \"input_length\": 3, \"output_length\": 4}\n",
        ] {
            std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
            assert_eq!(Trace::load(&path), Ok(Trace::parse(text).unwrap()));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn embedded_traces_are_found_by_name_and_can_be_read() {
        for (name, text) in BUILT_IN {
            let trace = Trace::built_in(Path::new(name)).unwrap();
            assert_eq!(trace.rows().len(), text.lines().count() - 1);
            assert!((100.0..120.0).contains(&trace.length_s()), "{name}: {} s", trace.length_s());
        }
        assert_eq!(Trace::built_in(Path::new("azure-conv-2023.csv")), None);
    }

    #[test]
    fn mooncake_json_lines_are_read_and_sorted() {
        let text = "{\"timestamp\": 3000, \"input_length\": 6, \"output_length\": 7, \"hash_ids\": [1]}\n\
                    {\"timestamp\": 500, \"input_length\": 8, \"output_length\": 9, \"hash_ids\": []}\n";
        assert_eq!(shown(text), [(0.0, 8, 9), (2.5, 6, 7)]);
        assert_eq!(Trace::parse(text).unwrap().rate_per_s(), 0.4);
    }

    #[test]
    fn splitwise_csv_is_known_by_its_header() {
        let text = "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n\
                    0,2,0,0.5,1,374,44\n\
                    1,2,0,2.0,1,396,109\n";
        assert_eq!(shown(text), [(0.0, 374, 44), (1.5, 396, 109)]);
    }

    #[test]
    fn lengths_are_scaled_and_then_capped() {
        let fit = TraceFit { scale_prompt: 0.25, scale_output: 0.001, max_prompt: 90, max_output: 50 };
        let row = |prompt_tokens, output_tokens| TraceRow { at_s: 0.0, prompt_tokens, output_tokens };
        assert_eq!(fit.lengths(row(200, 100)), (50, 1));
        assert_eq!(fit.lengths(row(4000, 4_000_000)), (90, 50));
    }

    #[test]
    fn invalid_traces_are_refused_with_the_place() {
        let message = |text: &str| Trace::parse(text).unwrap_err().to_string();
        assert_eq!(message(""), "it is empty");
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        assert_eq!(
            message(&format!("{header}yesterday,1,2\n")),
            "line 2: `yesterday` is not a time like 2023-11-16 18:15:46.68 or 2024-05-10 00:00:00.009930+00:00"
        );
        assert!(message("time,prompt\n1,2\n").contains("missing field"), "{}", message("time,prompt\n1,2\n"));
        assert!(message("{\"timestamp\": 1}\n").starts_with("line 1: missing field"));
        for number in ["nan", "inf", "1e308"] {
            let text = format!("arrival_timestamp,prompt_size,token_size\n0,1,2\n{number},1,2\n");
            assert!(message(&text).starts_with("line 3: the time"), "{}", message(&text));
        }
        let line = "2023-11-16 18:15:46,1,2\n";
        assert_eq!(message(&format!("{header}{line}{line}")), "all its requests come at once");
    }
}
