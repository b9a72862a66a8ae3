//! The arguments of `hedgerow plan`, parsed and checked.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_loadgen::{Class, Patience, Pattern};
use hedgerow_node::config::{CommonArgs, Config, EngineArgs, PlanningArgs};
use hedgerow_node::config::{FACTORS, PARTS, RATES_PER_S, number};
use hedgerow_node::console::Notes;
use hedgerow_workload::Recording;
use hedgerow_workload::hint::hinted;

use crate::commands::arrivals::{ArrivalArgs, span};
use crate::commands::replay::recording_at;
use crate::plan::{Asked, Goal, Mix, PromptTokens};

/// vLLM's default block size of the KV cache, in tokens.
const KV_BLOCK: u32 = 16;
/// vLLM's default number of running requests (`max_num_seqs`).
const PARALLEL: u32 = 256;
/// llama.cpp's default micro-batch on an accelerator, in tokens.
const PREFILL_CHUNK: u32 = 512;

/// The arguments of `hedgerow plan`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples: hedgerow plan smollm2-135m-instruct --attainment 0.9 --plot plan.svg\n          \
                        hedgerow plan llama-2-70b --device 'RTX A6000' --accelerators 4 --precisions q8_0,q4_0\n\n\
                        docs/guides/planning.md says what is assumed."
)]
pub struct PlanArgs {
    /// The model: as `hedgerow list` names it or a .gguf file; with --device one of the built-in table, such as
    /// llama-2-70b
    #[arg(value_name = "MODEL", env = "HEDGEROW_MODEL")]
    model: Option<String>,
    /// A device of the built-in table instead of this machine; the plan is then an estimate
    #[arg(long, value_name = "NAME")]
    pub(super) device: Option<String>,
    /// Number of these devices, treated as one that is as many times as large and as fast
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    accelerators: u32,
    /// Fraction of the device's published speeds that is reached; 1 is the upper limit
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = number(PARTS))]
    efficiency: f64,
    /// Tokens in a block of the device's KV cache [default: 16]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    kv_block: Option<u32>,
    /// Memory for weights and KV caches, in GB [default: the device's, or what is free on this machine]
    #[arg(long, value_name = "GB", value_parser = number(0.001..=1e9))]
    memory_gb: Option<f64>,

    /// Classes of requests, their lengths and deadlines: the same file as for `hedgerow bench serve`
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    #[command(flatten)]
    arrivals: ArrivalArgs,
    /// Fraction of all requests that must be answered in time
    #[arg(long, value_name = "PART", default_value_t = 0.9, value_parser = number(PARTS))]
    attainment: f64,
    /// Candidate precisions [default: all that are known]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) precisions: Vec<String>,
    /// Hold at most this many precisions at once [default: 2; 1 for a --device and a mix without `min_quality`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: Option<u8>,
    /// Requests per user and minute
    #[arg(long, value_name = "RATE", default_value_t = 1.0, value_parser = number(1e-6..=1e6))]
    pub(super) per_user: f64,
    /// What callers do at their deadline: wait, hang-up
    #[arg(long, value_name = "WHAT", default_value = "wait")]
    clients: Patience,

    /// How long requests are sent in each run, such as 60s [default: enough for about 500, but at least four
    /// times the longest deadline, and at most 20 minutes]
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Simulate these rates too, in requests a second, to compare with measurements at them
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = number(RATES_PER_S))]
    pub(super) rate: Vec<f64>,
    /// Seeds of the load, one run each; `hedgerow bench serve` draws the same load from the same seed
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_value = "1,2,3,4,5")]
    pub(super) seeds: Vec<u64>,
    /// Relative tolerance of the greatest rate
    #[arg(long, value_name = "PART", default_value_t = 0.02, value_parser = number(PARTS))]
    resolution: f64,
    /// Engine slowdown: steps take this many times as long as measured or published [default: 1]
    #[arg(
        long,
        alias = "pace",
        value_name = "FACTOR",
        value_parser = number(FACTORS),
        conflicts_with = "recording"
    )]
    slowdown: Option<f64>,
    /// Take the slowdown from what `hedgerow serve --record` wrote; for a folder, from its newest recording. A node
    /// is slower while it serves, because its callers' connections take time from the engine
    #[arg(long, value_name = "FILE|FOLDER")]
    recording: Option<PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
    /// Draw attainment over the rate, a line for each set of precisions
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
    #[command(flatten)]
    planning: PlanningArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl PlanArgs {
    /// Returns the goal that the flags set.
    pub(super) fn goal(&self) -> Goal {
        Goal { attainment: self.attainment, resolution: self.resolution }
    }

    /// Returns the mix of requests, before the model's vocabulary is known.
    ///
    /// # Errors
    ///
    /// When the class file is wrong, or a run has no length.
    pub(super) fn mix(&self, bytes_per_token: f64) -> anyhow::Result<Mix> {
        let classes = self.classes.as_deref().map_or_else(|| Ok(Class::built_in()), Class::load)?;
        if self.duration.is_some_and(|duration| duration.is_zero()) {
            return Err(hinted("--duration is 0 s, but must be above 0", "give a time such as 300s"));
        }
        let arrivals = self.arrivals.arrivals()?;
        let pattern = Pattern { arrivals, classes, shared_prefix: 0, has_deadlines: true };
        let (duration, patience) = (self.duration, self.clients);
        Ok(Mix { pattern, duration, patience, prompt_tokens: PromptTokens::BARE, bytes_per_token })
    }

    /// Returns how many precisions a set may have. In an estimate no precision is better in one phase and worse in
    /// another, so the one with the smallest weights is best alone, and the default is 1 without quality floors.
    pub(super) fn at_once(&self, mix: &Mix) -> usize {
        let has_floor = mix.classes().iter().any(|class| class.min_quality.is_some_and(|floor| floor > 0.0));
        self.at_once.map_or(if self.device.is_some() && !has_floor { 1 } else { 2 }, usize::from)
    }

    /// Returns the engine slowdown: how many times as long steps take as measured or published.
    ///
    /// # Errors
    ///
    /// When the recording cannot be read or has no steps.
    pub(super) fn slowdown(&self, notes: Notes<'_>) -> anyhow::Result<Factors> {
        let Some(path) = &self.recording else { return Ok(Factors::both(self.slowdown.unwrap_or(1.0))) };
        slowdown_of(path, notes)
    }

    /// Returns the memory for weights and caches together, if it was given.
    pub(super) fn memory(&self) -> Option<Bytes> {
        self.memory_gb.map(|gb| Bytes((gb * 1e9) as u64))
    }

    /// Refuses flags that are valid only with a device.
    ///
    /// # Errors
    ///
    /// When such a flag is given.
    pub(super) fn refuse_flags_of_devices(&self) -> anyhow::Result<()> {
        let given = [
            (self.accelerators > 1, "--accelerators"),
            (self.efficiency != 1.0, "--efficiency"),
            (self.kv_block.is_some(), "--kv-block"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, flag)) => Err(hinted(
                format!("{flag} is about a device of the table, and this machine was measured"),
                "name one by --device, or leave it out",
            )),
            None => Ok(()),
        }
    }

    /// Returns the query to a device. The defaults for a CPU are too small for an accelerator, so `parallel` and
    /// `prefill_chunk` are used only where they were set explicitly.
    pub(super) fn asked<'a>(
        &'a self,
        device: &'a str,
        config: &'a Config,
        is_set: &dyn Fn(&str) -> bool,
    ) -> Asked<'a> {
        let engine = &config.engine;
        let set = |key: &str, value: u32, otherwise: u32| if is_set(key) { value } else { otherwise };
        Asked {
            model: &config.model.name,
            device,
            accelerators: self.accelerators,
            efficiency: self.efficiency,
            memory: self.memory(),
            precisions: &self.precisions,
            parallel: set("parallel", engine.parallel, PARALLEL),
            prefill_chunk: Tokens(set("prefill_chunk", engine.prefill_chunk.0, PREFILL_CHUNK)),
            kv_block: Tokens(self.kv_block.unwrap_or(KV_BLOCK)),
            kv_type: engine.kv_type,
        }
    }
}

fn slowdown_of(path: &Path, notes: Notes<'_>) -> anyhow::Result<Factors> {
    let path = &recording_at(path, notes)?;
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("reading the recording {shown}"))?;
    let recording = Recording::read(BufReader::new(file))
        .map_err(|error| hinted(format!("{shown}: {error}"), error.hint()))?;
    let times = hedgerow_sim::replay::step_times(&recording);
    if times.steps == 0 {
        return Err(hinted(
            format!("{shown} has no steps"),
            "record a server while it serves: `hedgerow serve --record FILE`",
        ));
    }
    Ok(times.fit.factors())
}
