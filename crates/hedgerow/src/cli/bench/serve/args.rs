//! What `hedgerow bench serve` takes, as typed and checked.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::cells::{Cell, Pressure};
use crate::hint::hinted;
use crate::load::{Arrivals, Class, Offer, Patience, Pattern, Trace, TraceFit};

/// What `hedgerow bench serve` takes.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The server, up to but without /v1
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8473")]
    pub(super) url: String,
    /// What tables call it; else its host and port
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its model; else the first that it lists
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// Give a second server the same load, in turns
    #[arg(long, value_name = "URL")]
    pub(super) compare: Option<String>,
    /// What tables call the second server
    #[arg(long, value_name = "NAME", requires = "compare")]
    pub(super) compare_name: Option<String>,
    /// The second server's model
    #[arg(long, value_name = "MODEL", requires = "compare")]
    pub(super) compare_model: Option<String>,

    /// Requests a second, one run each
    #[arg(long, value_name = "RATES", value_delimiter = ',', default_value = "1,2,4", value_parser = rate)]
    rate: Vec<f64>,
    /// Instead of a rate: so many callers, each of whom asks again when the answer is there
    #[arg(long, value_name = "CALLERS", value_delimiter = ',', conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Vec<u32>,
    /// How long requests are sent: 40s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = span)]
    duration: Duration,
    /// Seeds of the load, one run each
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// What callers do at their deadline, one run each: wait, hang-up
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "wait")]
    clients: Vec<Patience>,

    /// Who asks for what, by when; --print-classes shows the built-in file
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Print the built-in class file and do nothing else
    #[arg(long)]
    pub(super) print_classes: bool,
    /// Requests have no deadlines
    #[arg(long)]
    no_deadlines: bool,
    /// Every request begins with the same so many tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    shared_prefix: u32,
    /// How requests follow each other: poisson; gamma or gamma:SHAPE, burstier than that below 1, and 0.5 unless it is
    /// said; trace:FILE, Azure's or Splitwise's CSV or Mooncake's JSON lines
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    arrivals: Process,
    /// Where in the trace to begin; else anywhere, by seed
    #[arg(long, value_name = "TIME", value_parser = span)]
    trace_start: Option<Duration>,
    /// A trace's questions, so many times as long
    #[arg(long, value_name = "FACTOR", value_parser = above_0)]
    scale_prompt: Option<f64>,
    /// A trace's answers, so many times as long
    #[arg(long, value_name = "FACTOR", value_parser = above_0)]
    scale_output: Option<f64>,
    /// No question of a trace is longer, in tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_prompt: Option<u32>,
    /// No answer of a trace is longer, in tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_output: Option<u32>,

    /// How long to wait for answers when no more requests are sent; what has not come then is late
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = span)]
    drain: Duration,
    /// Rest between two runs
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    pub(super) pause: Duration,

    /// Write one JSON object for each run, in the form of vLLM's `bench serve`
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write one line for each request
    #[arg(long, value_name = "FILE")]
    pub(super) requests_csv: Option<PathBuf>,
    /// Draw attainment and goodput over the rate, and how times are distributed, as SVG
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// Write runs.json, requests.csv, summary.csv and plot.svg into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
}

/// How requests follow each other, as typed.
#[derive(Clone, Debug, PartialEq)]
enum Process {
    Gamma(f64),
    Trace(PathBuf),
}

impl FromStr for Process {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const KNOWN: &str =
            "give poisson, gamma[:SHAPE] with a shape above 0, such as gamma:0.5, or trace:FILE";
        match text.split_once(':') {
            None if text == "poisson" => Ok(Self::Gamma(1.0)),
            None if text == "gamma" => Ok(Self::Gamma(0.5)),
            Some(("gamma", shape)) => above_0(shape).map(Self::Gamma).map_err(|_| KNOWN),
            Some(("trace", file)) if !file.is_empty() => Ok(Self::Trace(file.into())),
            Some(_) | None => Err(KNOWN),
        }
    }
}

impl ServeArgs {
    /// What requests are drawn from.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or two flags do not go together.
    pub(super) fn pattern(&self) -> anyhow::Result<Pattern> {
        let classes = self.classes.as_deref().map_or_else(|| Ok(Class::built_in()), Class::load)?;
        let arrivals = match &self.arrivals {
            Process::Trace(_) if !self.concurrency.is_empty() => {
                return Err(hinted(
                    "a trace says when requests come, and so does --concurrency",
                    "leave one out",
                ));
            }
            Process::Trace(path) => Arrivals::Trace {
                trace: Trace::load(path).map_err(|error| hinted(&error, error.hint()))?,
                start: self.trace_start,
                fit: TraceFit {
                    scale_prompt: self.scale_prompt.unwrap_or(1.0),
                    scale_output: self.scale_output.unwrap_or(1.0),
                    max_prompt: self.max_prompt.unwrap_or(u32::MAX),
                    max_output: self.max_output.unwrap_or(u32::MAX),
                },
            },
            Process::Gamma(shape) => {
                if let Some(flag) = self.trace_flag() {
                    return Err(hinted(
                        format!("{flag} is about a trace, and there is none"),
                        "give one by --arrivals trace:FILE; lengths of other requests are in the class file",
                    ));
                }
                Arrivals::Gamma { shape: *shape }
            }
        };
        let has_deadlines = !self.no_deadlines;
        Ok(Pattern { arrivals, classes, shared_prefix: self.shared_prefix, has_deadlines })
    }

    /// A flag that was given and only makes sense with a trace.
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

    /// Every load that is to be offered.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let rates = || self.rate.iter().map(|&rate| Pressure::Rate(rate));
        let callers = self.concurrency.iter().map(|&callers| Pressure::Callers(callers));
        let pressures: Vec<Pressure> =
            if self.concurrency.is_empty() { rates().collect() } else { callers.collect() };
        let mut cells = Vec::new();
        for &pressure in &pressures {
            for &seed in &self.seeds {
                for &patience in &self.clients {
                    let offer = Offer { patience, duration: self.duration, drain: self.drain };
                    cells.push(Cell { pressure, seed, offer });
                }
            }
        }
        cells
    }
}

/// More than one thread can send.
const RATE_MAX: f64 = 10_000.0;

fn rate(text: &str) -> Result<f64, &'static str> {
    above_0(text).ok().filter(|&rate| rate <= RATE_MAX).ok_or("must be a number above 0, up to 10000")
}

fn above_0(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or("must be a number above 0")
}

/// A span of time with its unit; a bare number is seconds.
pub(crate) fn span(text: &str) -> Result<Duration, &'static str> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        _ => f64::NAN,
    };
    let span = digits.parse().ok().map(|number: f64| Duration::try_from_secs_f64(number * unit_s));
    span.and_then(Result::ok).ok_or("must be a time such as 40s, 500ms or 2m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_unit() {
        let spans = ["40s", "500ms", "2m", "1.5", "0s"].map(|text| span(text).unwrap().as_millis());
        assert_eq!(spans, [40_000, 500, 120_000, 1500, 0]);
        for wrong in ["", "s", "-1s", "1h", "1e400s", "ten"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arrivals_are_named_as_people_would() {
        assert_eq!("poisson".parse(), Ok(Process::Gamma(1.0)));
        assert_eq!("gamma:0.25".parse(), Ok(Process::Gamma(0.25)));
        assert_eq!("trace:a:b.csv".parse(), Ok(Process::Trace("a:b.csv".into())));
        for wrong in ["", "uniform", "gamma:0", "gamma:x", "trace:", "poisson:1"] {
            assert!(wrong.parse::<Process>().is_err(), "{wrong}");
        }
    }
}
