//! The flags that override the configuration file, and the environment variables of the same names, in groups: each
//! command accepts the groups that affect it.

use std::path::PathBuf;

use clap::Args;

/// All settings by flag or environment variable, for commands that start a server. Defaults are in
/// `config/default.toml`; see `hedgerow config`.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    planning: PlanningArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// The configuration file to read, and the level and format of the log.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Settings of a server only.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerArgs {
    /// Address to listen on: an IP address, or a name, of which the first usable address is taken
    #[arg(long, env = "HEDGEROW_HOST")]
    host: Option<String>,
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "HEDGEROW_PORT")]
    port: Option<String>,
    /// File of the API keys, as `hedgerow keys add` writes it; each request then needs a key
    #[arg(long, value_name = "FILE", env = "HEDGEROW_KEYS_FILE")]
    keys_file: Option<String>,
    /// Model name that clients use
    #[arg(long, value_name = "NAME", env = "HEDGEROW_ALIAS")]
    alias: Option<String>,
    /// Other precisions of the model to serve: files after the flag, or with commas between them, each as FILE or
    /// FILE=QUALITY; without a quality, what `hedgerow evaluate` measured. Name the model before this flag
    #[arg(long, value_name = "FILES", value_delimiter = ',', env = "HEDGEROW_ALSO")]
    also: Vec<String>,
    /// Default deadline of requests without one, in ms from arrival; 0: none
    #[arg(long, value_name = "MS", env = "HEDGEROW_DEFAULT_DEADLINE")]
    default_deadline: Option<String>,
    /// Capacity of the link from the callers, in kbit/s; 0: not known
    #[arg(long, value_name = "KBPS", env = "HEDGEROW_UPLINK_KBPS")]
    uplink_kbps: Option<String>,
    /// Folder of the database of batches [default: $STATE_DIRECTORY/batches, $XDG_STATE_HOME/hedgerow/batches or
    /// ~/.local/state/hedgerow/batches]; none: no batches
    #[arg(long, value_name = "FOLDER", env = "HEDGEROW_BATCH_FOLDER")]
    batch_folder: Option<String>,
}

/// Settings of the scheduler.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Planning")]
pub struct PlanningArgs {
    /// Scheduling policy: dftsp, exact, greedy, edf, fifo, static:SIZE, none:ACCELERATORS, brute-force
    #[arg(long, value_name = "NAME", env = "HEDGEROW_POLICY")]
    policy: Option<String>,
    /// When batches are planned: continuous or epoch
    #[arg(long, value_name = "NAME", env = "HEDGEROW_PROTOCOL")]
    protocol: Option<String>,
    /// Maximum number of waiting requests
    #[arg(long, value_name = "N", env = "HEDGEROW_MAX_QUEUE")]
    max_queue: Option<String>,
    /// Safety margin: fraction added to every predicted time
    #[arg(long, value_name = "FRACTION", env = "HEDGEROW_MARGIN")]
    margin: Option<String>,
    /// Fraction of the answers expected to be no longer than planned; 1 plans with `max_tokens`
    #[arg(long, value_name = "FRACTION", env = "HEDGEROW_CONFIDENCE")]
    confidence: Option<String>,
    /// Fraction of the node's time reserved for best-effort requests, those without a deadline
    #[arg(long, value_name = "FRACTION", env = "HEDGEROW_BEST_EFFORT_SHARE")]
    best_effort_share: Option<String>,
    /// Memory for the weights and caches of all precisions, in GB: precisions that do not fit are loaded on demand;
    /// 0: all stay in memory
    #[arg(long, value_name = "GB", env = "HEDGEROW_WEIGHTS_GB")]
    weights_gb: Option<String>,
    /// Capacity of the link to the callers, in kbit/s; 0: answers are not paced
    #[arg(long, value_name = "KBPS", env = "HEDGEROW_DOWNLINK_KBPS")]
    downlink_kbps: Option<String>,
}

/// Settings of the engine, which determine what a profile measures.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Maximum number of requests that run at once
    #[arg(long, visible_alias = "np", value_name = "N", env = "HEDGEROW_PARALLEL")]
    parallel: Option<String>,
    /// Tokens of KV cache for all of them together; each may hold this divided by --parallel
    #[arg(short = 'c', long, value_name = "TOKENS", env = "HEDGEROW_CTX_SIZE")]
    ctx_size: Option<String>,
    /// Prefix caching: number of ended requests whose KV cache is retained; 0: every prompt is prefilled whole
    #[arg(long, value_name = "N", env = "HEDGEROW_RETAINED")]
    retained: Option<String>,
    /// Threads; 0: one for each fast physical core that affinity and CPU quota allow
    #[arg(short = 't', long, value_name = "N", env = "HEDGEROW_THREADS")]
    threads: Option<String>,
    /// Maximum tokens of one pass through the model
    #[arg(long, value_name = "TOKENS", env = "HEDGEROW_UBATCH_SIZE")]
    ubatch_size: Option<String>,
    /// Chunked prefill: maximum prompt tokens that one step prefills
    #[arg(long, value_name = "TOKENS", env = "HEDGEROW_PREFILL_CHUNK")]
    prefill_chunk: Option<String>,
    /// How the KV cache is stored: f16, q8_0 or q4_0
    #[arg(long, value_name = "TYPE", env = "HEDGEROW_KV_TYPE")]
    kv_type: Option<String>,
    /// Kernels to use: auto (the fast ones if a correctness check passes, else the plain ones), fast or plain
    #[arg(long, value_name = "NAME", env = "HEDGEROW_KERNELS")]
    kernels: Option<String>,
    /// The variant of the CPU kernels, in a build that has several; else the one that suits the CPU best
    #[arg(long, value_name = "NAME", env = "HEDGEROW_CPU_VARIANT")]
    cpu_variant: Option<String>,
    /// Layers to place on accelerators, the output counted as one: a number, all, or auto for as many as fit
    #[arg(long, visible_alias = "ngl", value_name = "N", env = "HEDGEROW_GPU_LAYERS")]
    gpu_layers: Option<String>,
    /// Accelerators to use, by their names in --list-devices with commas between them; none: the CPU alone
    #[arg(long, value_name = "NAMES", env = "HEDGEROW_DEVICE")]
    device: Option<String>,
}

/// Settings of every command that reads a configuration.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration and log")]
pub struct CommonArgs {
    /// Configuration file [default: $XDG_CONFIG_HOME/hedgerow/config.toml or /etc/hedgerow/hedgerow.toml, if there]
    #[arg(long, value_name = "FILE", env = "HEDGEROW_CONFIG")]
    pub config: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, value_name = "LEVEL", env = "HEDGEROW_LOG_LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT", env = "HEDGEROW_LOG_FORMAT")]
    log_format: Option<String>,
}

/// The configuration key of each flag.
pub(super) const KEYS: [(&str, &str, &str); 31] = [
    ("model", "model", "name"),
    ("model_flag", "model", "name"),
    ("host", "server", "host"),
    ("port", "server", "port"),
    ("keys_file", "access", "keys_file"),
    ("alias", "model", "alias"),
    ("also", "model", "also"),
    ("weights_gb", "model", "weights_gb"),
    ("parallel", "engine", "parallel"),
    ("ctx_size", "engine", "ctx_size"),
    ("retained", "engine", "retained"),
    ("threads", "engine", "threads"),
    ("ubatch_size", "engine", "ubatch_size"),
    ("prefill_chunk", "engine", "prefill_chunk"),
    ("kv_type", "engine", "kv_type"),
    ("gpu_layers", "engine", "gpu_layers"),
    ("device", "engine", "device"),
    ("kernels", "engine", "kernels"),
    ("cpu_variant", "engine", "cpu_variant"),
    ("policy", "planning", "policy"),
    ("protocol", "planning", "protocol"),
    ("max_queue", "planning", "max_queue"),
    ("default_deadline", "planning", "default_deadline_ms"),
    ("margin", "planning", "margin"),
    ("confidence", "planning", "confidence"),
    ("best_effort_share", "planning", "best_effort_share"),
    ("downlink_kbps", "link", "downlink_kbps"),
    ("uplink_kbps", "link", "uplink_kbps"),
    ("batch_folder", "batch", "folder"),
    ("log_level", "log", "level"),
    ("log_format", "log", "format"),
];
