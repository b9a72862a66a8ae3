//! `hedgerow profile`.

mod plot;
mod table;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgMatches, Args};
use hedgerow_llama::LlamaEngine;
use hedgerow_node::catalogue;
use hedgerow_node::config::{self, CommonArgs, EngineArgs};
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_node::loading;
use hedgerow_node::models::FetchOptions;
use hedgerow_node::profile::{Known, Profile, Profiler};
use hedgerow_workload::hint::hinted;
use indicatif::HumanDuration;

/// The arguments of `hedgerow profile`, with the engine's flags of `serve`, because they decide what is measured.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// The model: smollm2-135m-instruct, a .gguf file, or a Hugging Face repository as org/repo:QUANT
    #[arg(value_name = "MODEL", env = "HEDGEROW_MODEL")]
    model: Option<String>,
    /// The model, as a flag instead of an argument
    #[arg(short = 'm', long = "model", id = "model_flag", value_name = "MODEL", conflicts_with = "model")]
    model_flag: Option<String>,
    /// Never use the network to get the model
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    offline: bool,
    /// Measure even if there is a saved profile
    #[arg(long)]
    force: bool,
    /// Print the profile as its file has it, one JSON object
    #[arg(long)]
    json: bool,
    /// Draw the time of decode steps
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Prints the saved profile, or measures and saves one first.
pub fn run(args: &ProfileArgs, matches: &ArgMatches, console: &mut Console<'_>) -> anyhow::Result<()> {
    let config = config::load(matches, args.common.config.as_deref())?.config;
    let _logging = hedgerow_node::logging::start(&config.log)?;
    let mut options = FetchOptions::from_environment()?;
    options.offline = args.offline;
    let loaded = loading::load_model_to_run(&config.model.name, &options, &config, console.notes)?;
    let profiler = Profiler::new(&loaded, &config)?;
    let saved = if args.force { None } else { profiler.saved() };
    let known = match saved {
        Some(profile) => Known { profile, is_new: false, is_saved: true },
        None => {
            hedgerow_node::engine_setup::settle_engine_thread(&config);
            let mut engine =
                LlamaEngine::new(&loaded.model, &hedgerow_node::engine_setup::engine_options(&config))
                    .map_err(|error| hinted(&error, error.hint()))?;
            profiler.measure(&mut engine)?
        }
    };
    if known.is_saved {
        catalogue::refresh(&[&loaded.path])?;
    }
    if let Some(path) = &args.plot {
        write_whole(path, &plot::decode(&known.profile)).map_err(|error| {
            hinted(format!("cannot write {}: {error}", path.display()), "choose another file by `--plot`")
        })?;
        console.note(format!("wrote {}", path.display()));
    }
    let text = if args.json { known.profile.to_json() } else { table::table(&known.profile) };
    console.print(text)?;
    console.note(place(&known, &profiler));
    Ok(())
}

/// Describes where the profile is from and where it is saved.
fn place(known: &Known, profiler: &Profiler) -> String {
    let Known { profile, is_new, is_saved } = known;
    let path = profiler.path();
    let took = Duration::from_millis(profile.took_ms).as_secs_f64();
    let place = match (is_new, is_saved) {
        (true, true) => format!("measured in {took:.1} s and saved as {}", path.display()),
        (true, false) => format!("measured in {took:.1} s, not saved"),
        (false, _) => format!(
            "measured {} ago and saved as {}; --force measures again",
            HumanDuration(age(profile)),
            path.display()
        ),
    };
    match &profile.disturbed {
        Some(disturbed) => format!("{place}\nthe machine was busy meanwhile: {disturbed}"),
        None => place,
    }
}

fn age(profile: &Profile) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(profile.measured_unix_s))
}
