//! `hedgerow serve`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{ArgMatches, Args};
use hedgerow_core::units::Quality;
use hedgerow_node::catalogue;
use hedgerow_node::config::{self, Config, ConfigArgs, Layered};
use hedgerow_node::console::Console;
use hedgerow_node::loading;
use hedgerow_node::logging::{self, Logging};
use hedgerow_node::models::{self, FetchOptions, ModelSource};
use hedgerow_node::node::{self, RecordingFile, Speed, Variant};
use hedgerow_node::profile::Profiler;
use hedgerow_node::quality;
use hedgerow_node::service_manager;
use hedgerow_server::App;
use hedgerow_server::Server;
use hedgerow_workload::hint::hinted;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The arguments of `hedgerow serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The model: smollm2-135m-instruct, a .gguf file, or a Hugging Face repository as org/repo:QUANT
    #[arg(value_name = "MODEL", env = "HEDGEROW_MODEL")]
    model: Option<String>,
    /// The model, as a flag instead of an argument
    #[arg(short = 'm', long = "model", id = "model_flag", value_name = "MODEL", conflicts_with = "model")]
    model_flag: Option<String>,
    /// Never use the network to get the model
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    offline: bool,
    /// Record each event and each request's end, for `hedgerow simulate --replay`: to this new file, or into this
    /// folder (its name ends in /), named by the time. No text of requests or answers is recorded
    #[arg(long, value_name = "FILE|FOLDER/", env = "HEDGEROW_RECORD")]
    record: Option<PathBuf>,
    /// Print the devices that this program can compute on, and exit
    #[arg(long)]
    list_devices: bool,
    /// With --list-devices: print one JSON object
    #[arg(long, requires = "list_devices")]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until SIGTERM or Ctrl-C; or lists the devices.
pub(crate) fn run(args: &ServeArgs, matches: &ArgMatches, console: &mut Console<'_>) -> anyhow::Result<()> {
    if args.list_devices {
        return super::devices::run(args.json, console);
    }
    let mut layered = config::load(matches, args.config.common.config.as_deref())?;
    let config = layered.config.clone();
    let logging = logging::start(&config.log)?;
    let mut options = FetchOptions::from_environment()?;
    options.offline = args.offline;
    // Errors in the files are reported before the server announces that it listens.
    check_files(&config)?;
    let record = args.record.as_deref().map(RecordingFile::create).transpose()?;
    // Few threads: the engine needs the cores more than the connections do.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(node::run_before_the_engine)
        .build()?;
    let outcome = runtime.block_on(async {
        let mut stop_signals = StopSignals::listen()?;
        let mut hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        let name = config.model.name.clone();
        let grace = Duration::from_nanos(config.server.shutdown_grace.0);
        let server = match Server::listen(config).await {
            Ok(server) => server,
            Err(error) => {
                record.into_iter().for_each(RecordingFile::discard);
                return Err(error);
            }
        };
        let record = record.map(|RecordingFile { path, file }| {
            tracing::info!(file = %path.display(), "recording");
            file
        });
        tracing::info!(address = %server.address(), "listening; answers 503 until the model is loaded");
        let (ready_sender, ready) = oneshot::channel();
        // Not one of the runtime's threads: the engine would inherit their scheduling priority.
        std::thread::Builder::new().name("loading".into()).spawn(move || {
            // The receiver is gone if the server was asked to stop meanwhile.
            let _ = ready_sender.send(start(server, &name, &options, record));
        })?;
        let server = tokio::select! {
            ready = ready => ready.context("loading the model")??,
            () = stop_signals.received() => return Ok(()),
        };
        report_speed(&server);
        console.note(format!("hedgerow serves {}", server.url()));
        let status = format!("serving {}", server.url());
        service_manager::ready(&status);
        if let Some(interval) = service_manager::watchdog_interval() {
            tokio::spawn(report_alive(server.app().clone(), interval));
        }
        let failure = loop {
            tokio::select! {
                reason = server.failed() => break Some(reason),
                () = stop_signals.received() => break None,
                Some(()) = hangup.recv() => {
                    service_manager::reloading();
                    server.reload();
                    match config::load(matches, args.config.common.config.as_deref()) {
                        Ok(new) => layered = changed_to(new, &layered, &logging),
                        Err(error) => tracing::error!("the configuration in force remains: {error:#}"),
                    }
                    service_manager::ready(&status);
                }
            }
        };
        service_manager::stopping(grace);
        if failure.is_none() {
            tracing::info!("shutting down: admitting no requests, finishing those that can end in time");
        }
        tokio::select! {
            outcome = server.shut_down() => outcome?,
            () = stop_signals.received() => bail!("stopped at once by a second signal; running requests were cut off"),
        }
        match failure {
            Some(reason) => Err(anyhow!("the node cannot go on: {reason}")),
            None => Ok(()),
        }
    });
    // A download that is still going on must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Checks the headers of those of the model's files that are on this disk; a file still to be fetched is checked once
/// it is here.
fn check_files(config: &Config) -> anyhow::Result<()> {
    let others = config.model.also.iter().map(|also| &also.name);
    let mut precisions = Vec::new();
    for name in std::iter::once(&config.model.name).chain(others) {
        if let ModelSource::Path(path) = name.parse()? {
            let Some(precision) = models::check_file(&path)?.quantization else { continue };
            if precisions.contains(&precision) {
                return Err(served_already(name, &precision));
            }
            precisions.push(precision);
        }
    }
    for also in &config.model.also {
        if let (ModelSource::Path(path), None) = (also.name.parse()?, also.quality) {
            measured_quality(&path).with_context(|| format!("finding the quality of {}", also.name))?;
        }
    }
    Ok(())
}

fn served_already(name: &str, precision: &str) -> anyhow::Error {
    hinted(format!("{name} is {precision}, which is served already"), "name each precision once")
}

/// Loads the model and starts serving it.
fn start(server: Server, name: &str, options: &FetchOptions, record: Option<File>) -> anyhow::Result<Server> {
    let (loaded, variants) = load(name, server.config(), options)?;
    let paths: Vec<PathBuf> = variants.iter().map(|variant| variant.path.clone()).collect();
    server.serve(variants, &loaded, record)?;
    match catalogue::refresh(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>()) {
        Ok(catalogue) => server.app().show_catalogue(&catalogue),
        Err(error) => tracing::warn!("the catalogue is not brought up to date: {error}"),
    }
    Ok(server)
}

/// Loads the model and its other precisions; also returns its name.
fn load(name: &str, config: &Config, options: &FetchOptions) -> anyhow::Result<(String, Vec<Variant>)> {
    let names = std::iter::once(name).chain(config.model.also.iter().map(|also| also.name.as_str()));
    let mut prepared = loading::prepare(names, options, config, &crate::note)?.into_iter();
    let mut load_next = || {
        let next = prepared.next().context("each name was fetched")?;
        let mb = next.fetched.bytes.div_ceil(1_000_000);
        tracing::info!("loading {} ({mb} MB): {}", next.fetched.name, next.fetched.path.display());
        let loaded = loading::load_prepared(next)?;
        tracing::info!(
            model = %loaded.name, precision = %loaded.model.info().precision, took_ms = loaded.load_ms, "loaded"
        );
        let profiler = Profiler::new(&loaded, config)?;
        anyhow::Ok((loaded, Speed::Profile(Box::new(profiler))))
    };
    let (first, speed) = load_next()?;
    let model_name = first.name.clone();
    let mut variants = vec![Variant::of(first, speed, config.model.quality)];
    for also in &config.model.also {
        let (loaded, speed) = load_next()?;
        quality::kinship(&loaded.path, &loaded.model, &variants[0].model).map_err(|error| {
            hinted(
                &error,
                "serve it by itself, or name another file in --also; the model itself is named before --also",
            )
        })?;
        let precision = &loaded.model.info().precision;
        if variants.iter().any(|variant| variant.model.info().precision == *precision) {
            return Err(served_already(&also.name, precision));
        }
        let quality = match also.quality {
            Some(quality) => quality,
            None => measured_quality(&loaded.path)
                .with_context(|| format!("finding the quality of {}", also.name))?,
        };
        variants.push(Variant::of(loaded, speed, quality));
    }
    Ok((model_name, variants))
}

/// Returns the quality that `hedgerow evaluate` measured: the ratio of perplexities.
fn measured_quality(path: &Path) -> anyhow::Result<Quality> {
    let catalogue = catalogue::refresh(&[path])?;
    let figure = catalogue.entry(path).and_then(|entry| entry.quality_by_perplexity.as_ref());
    let measured = figure.and_then(|figure| Quality::new(figure.value));
    measured.ok_or_else(|| {
        hinted(
            "it has not been measured",
            format!(
                "`hedgerow evaluate {} --reference FILE` measures it; or say it as FILE=QUALITY",
                path.display()
            ),
        )
    })
}

/// The tokens that each request holds where decode speeds are reported.
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

/// Notifies the service manager at each interval, once the driver's thread has answered. The notifications end if the
/// driver is stuck or has ended, although this runtime goes on.
async fn report_alive(app: App, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match app.node() {
            Some(node) if node.answers().await => service_manager::alive(),
            Some(_) | None => return,
        }
    }
}

/// Brings the log level in force, and reports the other keys that were changed: they need a restart.
fn changed_to(new: Layered, old: &Layered, logging: &Logging) -> Layered {
    if let Err(error) = logging.set_filter(&new.config.log) {
        tracing::error!("the log level in force remains: {error:#}");
    }
    for ((section, key), (value, _)) in &new.values {
        let place = (section.clone(), key.clone());
        let is_changed = old.values.get(&place).is_none_or(|(old, _)| old != value);
        if is_changed && (section.as_str(), key.as_str()) != ("log", "level") {
            tracing::warn!("`{section}.{key}` is now {value} in the configuration, which takes a restart");
        }
    }
    new
}

/// SIGTERM and Ctrl-C. From its creation on they no longer end the process, and none is lost between two waits. Nor do
/// SIGUSR1 and SIGUSR2, which log rotation and supervisors may send.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    _ignored: [Signal; 2],
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        let on = |kind: SignalKind, name: &str| signal(kind).with_context(|| format!("listening for {name}"));
        Ok(Self {
            terminate: on(SignalKind::terminate(), "SIGTERM")?,
            interrupt: on(SignalKind::interrupt(), "Ctrl-C")?,
            _ignored: [
                on(SignalKind::user_defined1(), "SIGUSR1")?,
                on(SignalKind::user_defined2(), "SIGUSR2")?,
            ],
        })
    }

    /// Waits for either of them.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
