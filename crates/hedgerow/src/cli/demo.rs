//! `hedgerow demo`.

use std::time::Duration;

use clap::Args;
use hedgerow_node::config;
use hedgerow_node::config::number;
use hedgerow_node::console::Console;
use hedgerow_node::loading;
use hedgerow_node::models::FetchOptions;
use hedgerow_solver::Policy;

use crate::demo::{self, Plan, table};

/// The arguments of `hedgerow demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// The model: smollm2-135m-instruct, a .gguf file, or a Hugging Face repository as org/repo:QUANT
    #[arg(value_name = "MODEL", default_value = "smollm2-135m-instruct")]
    model: String,
    /// How long requests arrive under each policy, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = number(1.0..=3600.0))]
    duration: f64,
    /// Offered load divided by the machine's capacity
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, value_parser = number(0.01..=100.0))]
    overload: f64,
    /// Seed of the arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The policies to compare
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "fifo,exact")]
    policies: Vec<Policy>,
    /// Never use the network to get the model
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    offline: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Gets the model, offers the load under each policy, and prints what the callers received.
pub(crate) fn run(
    args: &DemoArgs,
    matches: &clap::ArgMatches,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mut config = config::load(matches, None)?.config;
    // The demo prints its own output, so only warnings and errors are logged.
    config.log.filter = "warn".into();
    let _logging = hedgerow_node::logging::start(&config.log)?;
    let mut options = FetchOptions::from_environment()?;
    options.offline = args.offline;
    let loaded = loading::load_model_to_run(&args.model, &options, &config, console.notes)?;
    let info = loaded.model.info();
    console.note(format!(
        "{} ({}, {} MB) is loaded; finding out how fast this machine is",
        loaded.name,
        info.precision,
        info.weights.0 / 1_000_000
    ));
    let plan = Plan {
        duration: Duration::from_secs_f64(args.duration),
        overload: args.overload,
        seed: args.seed,
        policies: args.policies.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let runs = runtime.block_on(demo::run(&loaded, &config, &plan, console.notes))?;
    if args.json {
        console.print_line(serde_json::to_string_pretty(&table::json(&runs))?)
    } else {
        console.print(table::table(&runs))?;
        console.print_line(
            "attainment = met / offered; late and turned away both count as not met. Callers wait to the end.",
        )
    }
}
