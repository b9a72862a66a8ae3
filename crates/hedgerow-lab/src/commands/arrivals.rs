//! The arrival process of `bench serve` and `plan`: its flags, parsed and checked.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hedgerow_loadgen::Arrivals;
use hedgerow_node::config::{FACTORS, number};
use hedgerow_workload::hint::hinted;
use hedgerow_workload::{Trace, TraceFit};

/// The flags of the arrival process.
#[derive(Args, Debug)]
pub(crate) struct ArrivalArgs {
    /// Arrival process: poisson; gamma or gamma:SHAPE (default 0.5; below 1 is burstier than poisson); trace:FILE,
    /// Azure's or Splitwise's CSV or Mooncake's JSON lines
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    arrivals: Process,
    /// Where in the trace to begin [default: a place drawn from the seed]
    #[arg(long, value_name = "TIME", value_parser = span)]
    trace_start: Option<Duration>,
    /// Multiply a trace's prompt lengths by this factor
    #[arg(long, value_name = "FACTOR", value_parser = number(FACTORS))]
    scale_prompt: Option<f64>,
    /// Multiply a trace's output lengths by this factor
    #[arg(long, value_name = "FACTOR", value_parser = number(FACTORS))]
    scale_output: Option<f64>,
    /// Cap a trace's prompts at this many tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_prompt: Option<u32>,
    /// Cap a trace's outputs at this many tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_output: Option<u32>,
}

/// The shapes allowed for gamma-distributed gaps; their coefficients of variation are from 0.01 to 100.
const SHAPES: std::ops::RangeInclusive<f64> = 1e-4..=1e4;

/// The arrival process as typed.
#[derive(Clone, Debug, PartialEq)]
enum Process {
    Gamma(f64),
    Trace(PathBuf),
}

impl FromStr for Process {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const KNOWN: &str =
            "give poisson, gamma[:SHAPE] with a shape from 0.0001 to 10000, such as gamma:0.5, or trace:FILE";
        match text.split_once(':') {
            None if text == "poisson" => Ok(Self::Gamma(1.0)),
            None if text == "gamma" => Ok(Self::Gamma(0.5)),
            Some(("gamma", shape)) => number(SHAPES)(shape).map(Self::Gamma).map_err(|_| KNOWN),
            Some(("trace", file)) if !file.is_empty() => Ok(Self::Trace(file.into())),
            Some(_) | None => Err(KNOWN),
        }
    }
}

impl ArrivalArgs {
    /// Whether arrivals follow a trace.
    pub(crate) fn is_trace(&self) -> bool {
        matches!(self.arrivals, Process::Trace(_))
    }

    /// Returns the arrival process that the flags describe.
    ///
    /// # Errors
    ///
    /// When the trace cannot be read, or two flags contradict each other.
    pub(crate) fn arrivals(&self) -> anyhow::Result<Arrivals> {
        match &self.arrivals {
            Process::Trace(path) => Ok(Arrivals::Trace {
                trace: Arc::new(Trace::load(path).map_err(|error| hinted(&error, error.hint()))?),
                start: self.trace_start,
                fit: TraceFit {
                    scale_prompt: self.scale_prompt.unwrap_or(1.0),
                    scale_output: self.scale_output.unwrap_or(1.0),
                    max_prompt: self.max_prompt.unwrap_or(u32::MAX),
                    max_output: self.max_output.unwrap_or(u32::MAX),
                },
            }),
            Process::Gamma(shape) => {
                if let Some(flag) = self.trace_flag() {
                    return Err(hinted(
                        format!("{flag} is about a trace, and there is none"),
                        "give one by --arrivals trace:FILE; lengths of other requests are in the class file",
                    ));
                }
                Ok(Arrivals::Gamma { shape: *shape })
            }
        }
    }

    /// Returns a given flag that is valid only with a trace, if there is one.
    fn trace_flag(&self) -> Option<&'static str> {
        let given = [
            (self.trace_start.is_some(), "--trace-start"),
            (self.scale_prompt.is_some(), "--scale-prompt"),
            (self.scale_output.is_some(), "--scale-output"),
            (self.max_prompt.is_some(), "--max-prompt"),
            (self.max_output.is_some(), "--max-output"),
        ];
        given.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }
}

/// The longest time that a flag accepts; anything longer is taken for a mistake.
const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// Parses a time span with a unit; a bare number is in seconds.
pub(crate) fn span(text: &str) -> Result<Duration, &'static str> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        _ => f64::NAN,
    };
    let span = digits.parse().ok().map(|number: f64| Duration::try_from_secs_f64(number * unit_s));
    let span = span.and_then(Result::ok).filter(|span| *span <= SPAN_MAX);
    span.ok_or("must be a time such as 40s, 500ms or 2m, and no more than a day")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_parsed_with_their_units() {
        let spans = ["40s", "500ms", "2m", "1.5", "0s"].map(|text| span(text).unwrap().as_millis());
        assert_eq!(spans, [40_000, 500, 120_000, 1500, 0]);
        for wrong in ["", "s", "-1s", "1h", "1e400s", "1e9s", "nan", "ten"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arrival_processes_are_parsed_by_name() {
        assert_eq!("poisson".parse(), Ok(Process::Gamma(1.0)));
        assert_eq!("gamma:0.25".parse(), Ok(Process::Gamma(0.25)));
        assert_eq!("trace:a:b.csv".parse(), Ok(Process::Trace("a:b.csv".into())));
        for wrong in ["", "uniform", "gamma:0", "gamma:1e308", "gamma:nan", "gamma:x", "trace:", "poisson:1"]
        {
            assert!(wrong.parse::<Process>().is_err(), "{wrong}");
        }
    }
}
