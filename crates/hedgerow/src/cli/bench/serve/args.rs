//! What `hedgerow bench serve` takes, as typed and checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cells::{Cell, Pressure};
use crate::cli::arrivals::{ArrivalArgs, span};
use crate::cli::numbers::{RATES_PER_S, number};
use crate::hint::hinted;
use crate::workload::{Class, Offer, Patience, Pattern};

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
    #[arg(long, value_name = "RATES", value_delimiter = ',', default_value = "1,2,4",
          value_parser = number(RATES_PER_S))]
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
    #[arg(long, value_name = "TOKENS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    shared_prefix: u32,
    #[command(flatten)]
    arrivals: ArrivalArgs,

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

impl ServeArgs {
    /// What requests are drawn from.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or two flags do not go together.
    pub(super) fn pattern(&self) -> anyhow::Result<Pattern> {
        let classes = self.classes.as_deref().map_or_else(|| Ok(Class::built_in()), Class::load)?;
        if self.arrivals.is_trace() && !self.concurrency.is_empty() {
            return Err(hinted(
                "a trace says when requests come, and so does --concurrency",
                "leave one out",
            ));
        }
        let arrivals = self.arrivals.arrivals()?;
        let has_deadlines = !self.no_deadlines;
        Ok(Pattern { arrivals, classes, shared_prefix: self.shared_prefix, has_deadlines })
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
