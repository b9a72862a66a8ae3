//! Traces: when others asked, and for how much.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, NaiveDateTime};
use serde::Deserialize;

use crate::hint::hinted;

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    /// When, from the first request.
    pub(crate) at_s: f64,
    /// Tokens of the question.
    pub(crate) prompt_tokens: u32,
    /// Tokens of the answer.
    pub(crate) output_tokens: u32,
}

/// A trace, in order of time, beginning at 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    rows: Vec<Row>,
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

/// A line of Mooncake's traces; what it says about shared prefixes is not used.
#[derive(Deserialize)]
struct Mooncake {
    /// Milliseconds.
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

impl Trace {
    /// Reads a trace file: Azure's CSV or Mooncake's JSON lines, whichever it is.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is neither; the message names the line.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let wrong = |error: String| {
            hinted(
                format!("cannot use the trace {}: {error}", path.display()),
                "give a CSV with TIMESTAMP,ContextTokens,GeneratedTokens, or JSON lines with timestamp, \
                 input_length and output_length",
            )
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text).map_err(|error| wrong(format!("{error:#}")))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let rows = if text.trim_start().starts_with('{') { json_lines(text) } else { csv(text) };
        Self::new(rows?)
    }

    /// A trace of these requests.
    ///
    /// # Errors
    ///
    /// When there are too few to have a rate.
    pub(crate) fn new(mut rows: Vec<Row>) -> anyhow::Result<Self> {
        rows.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let (Some(first), Some(last)) = (rows.first().copied(), rows.last()) else { bail!("it is empty") };
        ensure!(last.at_s > first.at_s, "all its requests come at once");
        rows.iter_mut().for_each(|row| row.at_s -= first.at_s);
        Ok(Self { rows })
    }

    /// Every request, in order of time.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// From the first request to the last.
    pub(crate) fn length_s(&self) -> f64 {
        self.rows.last().map_or(0.0, |row| row.at_s)
    }

    /// Its mean rate.
    pub(crate) fn rate_per_s(&self) -> f64 {
        (self.rows.len() - 1) as f64 / self.length_s()
    }
}

fn csv(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in csv::Reader::from_reader(text.as_bytes()).deserialize() {
        let line: Azure = line?;
        let at_s = seconds(&line.timestamp)
            .with_context(|| format!("`{}` is not a time like 2023-11-16 18:15:46.68", line.timestamp))?;
        rows.push(Row { at_s, prompt_tokens: line.context_tokens, output_tokens: line.generated_tokens });
    }
    Ok(rows)
}

fn json_lines(text: &str) -> anyhow::Result<Vec<Row>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(index, line): (usize, &str)| {
        let line: Mooncake = serde_json::from_str(line).with_context(|| format!("line {}", index + 1))?;
        Ok(Row {
            at_s: line.timestamp / 1e3,
            prompt_tokens: line.input_length,
            output_tokens: line.output_length,
        })
    };
    lines.map(row).collect()
}

/// Seconds since 1970 of a time as Azure writes it: that of 2023 names no zone, that of 2024 does.
fn seconds(text: &str) -> Option<f64> {
    let plain = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok();
    let zoned =
        || DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z").ok().map(|time| time.naive_utc());
    let time = plain.or_else(zoned)?.and_utc();
    Some(time.timestamp() as f64 + f64::from(time.timestamp_subsec_nanos()) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(f64, u32, u32)> {
        let trace = Trace::parse(text).unwrap();
        let milliseconds = |row: &Row| (row.at_s * 1e3).round() / 1e3;
        trace.rows().iter().map(|row| (milliseconds(row), row.prompt_tokens, row.output_tokens)).collect()
    }

    #[test]
    fn azure_csv_is_read_with_and_without_a_zone() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                    2023-11-16 23:59:59.5000000,374,44\n\
                    2023-11-17 00:00:01.2500000,396,109\n";
        assert_eq!(shown(text), [(0.0, 374, 44), (1.75, 396, 109)]);
        let zoned = text.replace("0000,", "0+00:00,");
        assert_eq!(shown(&zoned), shown(text));
    }

    #[test]
    fn mooncake_json_lines_are_read_and_sorted() {
        let text = "{\"timestamp\": 3000, \"input_length\": 6, \"output_length\": 7, \"hash_ids\": [1]}\n\
                    {\"timestamp\": 500, \"input_length\": 8, \"output_length\": 9, \"hash_ids\": []}\n";
        assert_eq!(shown(text), [(0.0, 8, 9), (2.5, 6, 7)]);
        assert_eq!(Trace::parse(text).unwrap().rate_per_s(), 0.4);
    }

    #[test]
    fn what_is_no_trace_is_told_where_it_fails() {
        let said = |text: &str| format!("{:#}", Trace::parse(text).unwrap_err());
        assert_eq!(said(""), "it is empty");
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        assert_eq!(
            said(&format!("{header}yesterday,1,2\n")),
            "`yesterday` is not a time like 2023-11-16 18:15:46.68"
        );
        assert!(said("time,prompt\n1,2\n").contains("missing field"), "{}", said("time,prompt\n1,2\n"));
        assert!(said("{\"timestamp\": 1}\n").starts_with("line 1: missing field"));
        let line = "2023-11-16 18:15:46,1,2\n";
        assert_eq!(said(&format!("{header}{line}{line}")), "all its requests come at once");
    }
}
