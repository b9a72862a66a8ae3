//! What `hedgerow plan` takes, as typed and checked.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hedgerow_core::calibration::Factors;
use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_sim::Recording;

use crate::cli::arrivals::{ArrivalArgs, span};
use crate::cli::numbers::{FACTORS, PARTS, RATES_PER_S, number};
use crate::cli::replay::recording_at;
use crate::config::{CommonArgs, Config, EngineArgs, PlanningArgs};
use crate::hint::hinted;
use crate::plan::{Asked, Goal, Mix, PromptTokens};
use crate::workload::{Class, Patience, Pattern};

/// vLLM's default: tokens of a block of its KV cache.
const KV_BLOCK: u32 = 16;
/// vLLM's default: requests that run at once (`max_num_seqs`).
const PARALLEL: u32 = 256;
/// llama.cpp's default: tokens of one pass through the model on an accelerator.
const PREFILL_CHUNK: u32 = 512;

/// What `hedgerow plan` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples: hedgerow plan smollm2-135m-instruct --attainment 0.9 --plot plan.svg\n          \
                        hedgerow plan llama-2-70b --device 'RTX A6000' --accelerators 4 --precisions q8_0,q4_0\n\n\
                        docs/planning.md says what is assumed."
)]
pub(crate) struct PlanArgs {
    /// The model: as `hedgerow list` names it or a .gguf file; with --device one of the built-in table, such as llama-2-70b
    #[arg(value_name = "MODEL", env = "HEDGEROW_MODEL")]
    model: Option<String>,
    /// A device of the built-in table instead of this machine; what is planned is an estimate then
    #[arg(long, value_name = "NAME")]
    pub(super) device: Option<String>,
    /// So many of the device, taken as one that is as many times as large and as fast
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    accelerators: u32,
    /// Part of the device's published speeds that is reached; 1 is the most that could be
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = number(PARTS))]
    efficiency: f64,
    /// Tokens in a block of the device's KV cache [default: 16]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    kv_block: Option<u32>,
    /// Memory for weights and KV caches, in GB [default: the device's, or what is free on this machine]
    #[arg(long, value_name = "GB", value_parser = number(0.001..=1e9))]
    memory_gb: Option<f64>,

    /// Who asks for what, by when: the same file as for `hedgerow bench serve`
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    #[command(flatten)]
    arrivals: ArrivalArgs,
    /// Part of all requests that is to be answered in time
    #[arg(long, value_name = "PART", default_value_t = 0.9, value_parser = number(PARTS))]
    attainment: f64,
    /// Precisions that could be held [default: those that are known]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) precisions: Vec<String>,
    /// Hold at most so many precisions at once [default: 2; 1 for a --device and a mix without `min_quality`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: Option<u8>,
    /// Requests of one user in a minute
    #[arg(long, value_name = "RATE", default_value_t = 1.0, value_parser = number(1e-6..=1e6))]
    pub(super) per_user: f64,
    /// What callers do at their deadline: wait, hang-up
    #[arg(long, value_name = "WHAT", default_value = "wait")]
    clients: Patience,

    /// How long requests are sent in each run, such as 60s [default: until some 500 came, but at least four
    /// times the longest deadline, and at most 20 minutes]
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Play these rates too, in requests a second: to be compared with what was measured at them
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = number(RATES_PER_S))]
    pub(super) rate: Vec<f64>,
    /// Seeds of the load, one run each; `hedgerow bench serve` draws the same load from the same seed
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_value = "1,2,3,4,5")]
    pub(super) seeds: Vec<u64>,
    /// How closely the greatest rate is looked for, as a part of it
    #[arg(long, value_name = "PART", default_value_t = 0.02, value_parser = number(PARTS))]
    resolution: f64,
    /// Steps take so many times as long as was measured or published [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = number(FACTORS), conflicts_with = "recording")]
    pace: Option<f64>,
    /// Take that factor from what `hedgerow serve --record` wrote, of a folder from its newest recording: while a node
    /// serves, its callers slow it down
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
    /// What is to be reached.
    pub(super) fn goal(&self) -> Goal {
        Goal { attainment: self.attainment, resolution: self.resolution }
    }

    /// What is offered, the vocabulary still unknown.
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

    /// How many precisions a set may have. An estimate knows of no precision that is better in one phase and worse in
    /// another, so there the one that is read fastest does best alone, unless somebody asks for more.
    pub(super) fn at_once(&self, mix: &Mix) -> usize {
        let has_floor = mix.classes().iter().any(|class| class.min_quality.is_some_and(|floor| floor > 0.0));
        self.at_once.map_or(if self.device.is_some() && !has_floor { 1 } else { 2 }, usize::from)
    }

    /// How many times as long steps take as was measured or published.
    ///
    /// # Errors
    ///
    /// When the recording cannot be read or has no steps.
    pub(super) fn pace(&self) -> anyhow::Result<Factors> {
        let Some(path) = &self.recording else { return Ok(Factors::both(self.pace.unwrap_or(1.0))) };
        pace_of(path)
    }

    /// What weights and caches may take together, if that was said.
    pub(super) fn memory(&self) -> Option<Bytes> {
        self.memory_gb.map(|gb| Bytes((gb * 1e9) as u64))
    }

    /// Refuses what only means something with a device.
    ///
    /// # Errors
    ///
    /// When there is such a flag.
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

    /// What is asked of a device. What a CPU is set up for by default is too little for an accelerator, so `parallel` and
    /// `prefill_chunk` count only where somebody said them.
    pub(super) fn asked<'a>(
        &'a self,
        device: &'a str,
        config: &'a Config,
        is_said: &dyn Fn(&str) -> bool,
    ) -> Asked<'a> {
        let engine = &config.engine;
        let said = |key: &str, value: u32, otherwise: u32| if is_said(key) { value } else { otherwise };
        Asked {
            model: &config.model.name,
            device,
            accelerators: self.accelerators,
            efficiency: self.efficiency,
            memory: self.memory(),
            precisions: &self.precisions,
            parallel: said("parallel", engine.parallel, PARALLEL),
            prefill_chunk: Tokens(said("prefill_chunk", engine.prefill_chunk.0, PREFILL_CHUNK)),
            kv_block: Tokens(self.kv_block.unwrap_or(KV_BLOCK)),
            kv_type: engine.kv_type,
        }
    }
}

fn pace_of(path: &Path) -> anyhow::Result<Factors> {
    let path = &recording_at(path)?;
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("reading the recording {shown}"))?;
    let recording = Recording::read(BufReader::new(file))
        .map_err(|error| hinted(format!("{shown}: {error}"), error.hint()))?;
    let times = recording.step_times();
    if times.steps == 0 {
        return Err(hinted(
            format!("{shown} has no steps"),
            "record a server while it serves: `hedgerow serve --record FILE`",
        ));
    }
    Ok(times.fit.factors())
}
