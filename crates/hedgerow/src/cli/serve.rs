//! `hedgerow serve`.

use std::path::PathBuf;

use clap::{ArgMatches, Args};

use crate::catalogue;
use crate::config::{self, ConfigArgs};
use crate::models::{Bar, FetchOptions};
use crate::profile::Profiler;
use crate::serve::{self, Speed};
use crate::server::{self, Server};

/// What `hedgerow serve` takes.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The model: smollm2-135m-instruct, a .gguf file, or a Hugging Face repository as org/repo:QUANT
    #[arg(value_name = "MODEL", env = "HEDGEROW_MODEL")]
    model: Option<String>,
    /// The model again, for those who are used to a flag
    #[arg(short = 'm', long = "model", id = "model_flag", value_name = "MODEL", conflicts_with = "model")]
    model_flag: Option<String>,
    /// Never use the network to get the model
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    offline: bool,
    /// Write each event and each request's end to this new file, for `hedgerow simulate --replay`; no text
    /// of requests or answers is in it
    #[arg(long, value_name = "FILE", env = "HEDGEROW_RECORD")]
    record: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until SIGTERM or Ctrl-C.
pub(crate) fn run(args: &ServeArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let config = config::load(matches, args.config.config.as_deref())?.config;
    crate::logging::start(&config.log)?;
    let record = args.record.as_deref().map(serve::create_recording).transpose()?;
    // Few threads: the engine needs the cores more than the connections do.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(serve::run_before_the_engine)
        .build()?;
    let mut options = FetchOptions::from_environment()?;
    options.offline = args.offline;
    let outcome = runtime.block_on(async {
        let name = config.model.name.clone();
        let server = Server::listen(config).await?;
        tracing::info!(address = %server.address(), "listening; answers 503 until the model is loaded");
        let loading = tokio::task::spawn_blocking(move || {
            let bar = Bar::new();
            let loaded = server::load_model(&name, &options, &|progress| bar.show(progress));
            bar.finish();
            let loaded = loaded?;
            tracing::info!(model = %loaded.name, precision = %loaded.model.info().precision, "loaded");
            let profiler = Profiler::new(&loaded, server.config())?;
            server.serve(&loaded.model, &loaded.name, Speed::Profile(Box::new(profiler)), record)?;
            if let Err(error) = catalogue::refresh(&[&loaded.path]) {
                tracing::warn!("the catalogue is not brought up to date: {error}");
            }
            anyhow::Ok(server)
        });
        let server = tokio::select! {
            loaded = loading => loaded??,
            () = asked_to_stop() => return Ok(()),
        };
        report_speed(&server);
        eprintln!("hedgerow serves http://{}/v1", server.address());
        asked_to_stop().await;
        tracing::info!("shutting down: admitting nobody, ending what can end in time");
        server.shut_down().await
    });
    // A download that is still going on must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Tokens that each request holds in the speeds that are reported.
const HELD: u64 = 128;

fn report_speed(server: &Server) {
    let Some(node) = server.app().node() else { return };
    let cost = node.cost();
    let parallel = node.limits().parallel;
    let rate = |tokens: u32, span: hedgerow_core::time::Span| (f64::from(tokens) / span.as_seconds()).round();
    tracing::info!(
        prefill_tok_s = rate(128, cost.prefill.at(128, 0)),
        decode_tok_s_1 = rate(1, cost.decode.at(1, HELD)),
        decode_tok_s_all = rate(parallel, cost.decode.at(parallel, u64::from(parallel) * HELD)),
        parallel,
        "speed"
    );
}

/// Waits for SIGTERM or Ctrl-C.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tracing::error!("SIGTERM cannot be listened for");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        outcome = tokio::signal::ctrl_c() => if let Err(error) = outcome {
            tracing::error!(%error, "Ctrl-C cannot be listened for");
        },
    }
}
