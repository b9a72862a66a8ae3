//! The arguments of `hedgerow bench serve`, parsed and checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hedgerow_loadgen::{Class, Offer, Patience, Pattern};
use hedgerow_node::config::{RATES_PER_S, number};
use hedgerow_workload::hint::hinted;

use super::cells::{Cell, Pressure};
use crate::commands::arrivals::{ArrivalArgs, span};

/// The arguments of `hedgerow bench serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The server, up to but without /v1
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8473")]
    pub(super) url: String,
    /// Its name in tables [default: its host and port]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its model [default: the first that it lists]
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// Offer the same workload to a second server, in turns
    #[arg(long, value_name = "URL")]
    pub(super) compare: Option<String>,
    /// The second server's name in tables
    #[arg(long, value_name = "NAME", requires = "compare")]
    pub(super) compare_name: Option<String>,
    /// The second server's model
    #[arg(long, value_name = "MODEL", requires = "compare")]
    pub(super) compare_model: Option<String>,

    /// Request rates, in requests per second, one run each
    #[arg(long, value_name = "RATES", value_delimiter = ',', default_value = "1,2,4",
          value_parser = number(RATES_PER_S))]
    rate: Vec<f64>,
    /// Closed loop instead of a rate: this many clients, each with one request at a time
    #[arg(long, value_name = "CALLERS", value_delimiter = ',', conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Vec<u32>,
    /// How long requests are sent: 40s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = span)]
    duration: Duration,
    /// Seeds of the workload, one run each
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// What clients do at their deadline, one run each: wait, hang-up
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "wait")]
    clients: Vec<Patience>,

    /// Classes of requests, their lengths and deadlines; --print-classes shows the built-in file
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Print the built-in class file and do nothing else
    #[arg(long)]
    pub(super) print_classes: bool,
    /// Requests have no deadlines
    #[arg(long)]
    no_deadlines: bool,
    /// Length of a prefix that all prompts share, in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    shared_prefix: u32,
    #[command(flatten)]
    arrivals: ArrivalArgs,

    /// How long to wait for answers after the last request; any later answer counts as late
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = span)]
    drain: Duration,
    /// Pause between two runs
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    pub(super) pause: Duration,

    /// Write one JSON object for each run, in the form of vLLM's `bench serve`
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write one line for each request
    #[arg(long, value_name = "FILE")]
    pub(super) requests_csv: Option<PathBuf>,
    /// Draw attainment and goodput over the rate, and the distributions of latencies, as SVG
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// Write runs.json, requests.csv, summary.csv and plot.svg into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
}

impl ServeArgs {
    /// Returns the pattern that requests are drawn from.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or two flags contradict each other.
    pub(super) fn pattern(&self) -> anyhow::Result<Pattern> {
        let classes = self.classes.as_deref().map_or_else(|| Ok(Class::built_in()), Class::load)?;
        if self.arrivals.is_trace() && !self.concurrency.is_empty() {
            return Err(hinted(
                "a trace sets when requests arrive, and so does --concurrency",
                "leave one out",
            ));
        }
        let arrivals = self.arrivals.arrivals()?;
        let has_deadlines = !self.no_deadlines;
        Ok(Pattern { arrivals, classes, shared_prefix: self.shared_prefix, has_deadlines })
    }

    /// Returns every workload to offer.
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
