//! The server as a whole: it listens, loads, serves and shuts down.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use hedgerow_core::time::Span;
use hedgerow_core::units::Quality;
use hedgerow_llama::{Kernels, LlamaModel, LoadOptions};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{self, App, ChatTemplate, Serving};
use crate::config::Config;
use crate::footprint;
use crate::hint::hinted;
use crate::host;
use crate::kernels::{self, Chosen};
use crate::link::{Connection, PacedListener};
use crate::metrics::Metrics;
use crate::models::{self, Bar, FetchOptions, FetchedModel, ModelSource};
use crate::placement::{Placement, Placer};
use crate::profile::{self, Memory};
use crate::serve::{self, Clock, NewRecording, Speed, Variant};
use crate::service_manager;

/// A server that listens; it answers 503 until [`Server::serve`].
pub(crate) struct Server {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    app: App,
    address: SocketAddr,
    stop_listening: oneshot::Sender<()>,
    listening: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When the port is taken or the address is not this machine's.
    pub(crate) async fn listen(config: Config) -> anyhow::Result<Self> {
        let listener = bind(&config.server.host, config.server.port).await?;
        let address = listener.local_addr().context("asking for the port that was taken")?;
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        let app = App::new(config.clone(), clock, Arc::clone(&metrics));
        let (stop_listening, stopped) = oneshot::channel();
        let door = PacedListener::new(listener, metrics.downlink_bytes());
        let service = api::router(app.clone()).into_make_service_with_connect_info::<Connection>();
        let serving = axum::serve(door, service).with_graceful_shutdown(async {
            // Dropped without a word counts as well.
            let _ = stopped.await;
        });
        let listening = tokio::spawn(async move { serving.await });
        Ok(Self { config, clock, metrics, app, address, stop_listening, listening })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a node with the precisions of a model and serves requests. Blocks meanwhile: ten seconds to
    /// minutes if the engine has to be measured. What happens goes to `record`, if that is given.
    ///
    /// # Errors
    ///
    /// When the engine cannot be made or measured.
    pub(crate) fn serve(
        &self,
        variants: Vec<Variant>,
        name: &str,
        record: Option<File>,
    ) -> anyhow::Result<()> {
        let kernels: Vec<(String, Chosen)> = variants
            .iter()
            .map(|variant| (variant.model.info().precision.clone(), variant.kernels.clone()))
            .collect();
        for (precision, chosen) in &kernels {
            self.metrics.kernels(precision, chosen);
        }
        let template = ChatTemplate::of(variants.first().context("there is no model")?.model.info());
        let name = self.config.model.alias.clone().unwrap_or_else(|| name.to_owned());
        let recording = record.map(|file| NewRecording { file, model: name.clone() });
        let (config, metrics) = (&self.config, &self.metrics);
        let node = serve::start(variants, config, self.clock, metrics, recording)?;
        self.app.is_ready(Serving { node, name, template, kernels });
        Ok(())
    }

    /// What it was started with.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What serves, once [`Server::serve`] has succeeded.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Admits nobody new, lets end what can end in the grace, tells the rest, and stops listening.
    ///
    /// # Errors
    ///
    /// When listening had failed.
    pub(crate) async fn shut_down(self) -> anyhow::Result<()> {
        let Self { config, app, stop_listening, listening, .. } = self;
        app.drain();
        let grace = config.server.shutdown_grace;
        tokio::task::spawn_blocking(move || {
            if let Some(node) = app.node() {
                node.shut_down(grace);
            }
        })
        .await
        .context("shutting the node down")?;
        // If nobody listens any more, there is nothing to stop.
        let _ = stop_listening.send(());
        listening.await.context("closing the connections")?.context("listening")
    }
}

/// Listens on an address, or on the first of a name's addresses that can be listened on.
async fn bind(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| {
            hinted(
                format!("`server.host` is `{host}`, of which no address is known: {error}"),
                "give --host an IP address of this machine, such as 127.0.0.1, or a name that it resolves",
            )
        })?
        .collect();
    TcpListener::bind(addresses.as_slice()).await.map_err(|error| {
        let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        hinted(
            format!("cannot listen on {}: {error}", shown.join(" or ")),
            "choose another --port or --host; --port 0 takes any free port",
        )
    })
}

/// A model in memory.
#[derive(Clone, Debug)]
pub(crate) struct LoadedModel {
    pub(crate) model: Arc<LlamaModel>,
    /// What to call it.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: PathBuf,
    /// What computes, and why.
    pub(crate) kernels: Chosen,
    /// How long loading took, with the file on this disk.
    pub(crate) load_ms: u64,
    /// Before and after.
    pub(crate) memory: Memory,
}

impl LoadedModel {
    /// It as a precision to serve.
    pub(crate) fn variant(self, speed: Speed, quality: Quality) -> Variant {
        let load = Span::from_millis(self.load_ms);
        Variant { model: self.model, path: self.path, kernels: self.kernels, load, speed, quality }
    }
}

/// Fetches a model, with a bar while it takes, and checks that its file is whole.
///
/// # Errors
///
/// When it cannot be fetched or is damaged.
pub(crate) fn fetch_model(name: &str, options: &FetchOptions) -> anyhow::Result<FetchedModel> {
    let source: ModelSource = name.parse()?;
    let bar = Bar::new();
    service_manager::starting(&format!("getting {name}"));
    let fetched = models::fetch(&source, options, &|progress| {
        bar.show(progress);
        service_manager::still_starting(|| format!("{} {}", progress.activity, progress.file));
    });
    bar.finish();
    let fetched = fetched?;
    models::validate_gguf(&fetched.path)?;
    Ok(fetched)
}

/// A model file that is here, and where its layers are to go.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) fetched: FetchedModel,
    pub(crate) placement: Placement,
}

/// Fetches the models that are to be served together and places their layers.
///
/// # Errors
///
/// When one cannot be fetched or is damaged, and when they do not fit the memory together.
pub(crate) fn prepare<'a>(
    names: impl Iterator<Item = &'a str>,
    options: &FetchOptions,
    config: &Config,
) -> anyhow::Result<Vec<Prepared>> {
    let mut placer = Placer::new(config)?;
    let place = |name: &str| {
        let fetched = fetch_model(name, options)?;
        let placement = placer.place(&fetched.path)?;
        anyhow::Ok(Prepared { fetched, placement })
    };
    let prepared: Vec<Prepared> = names.map(place).collect::<anyhow::Result<_>>()?;
    let files: Vec<PathBuf> = prepared.iter().map(|one| one.fetched.path.clone()).collect();
    let on_devices = prepared.iter().map(|one| one.placement.bytes).sum();
    footprint::ensure_fits(&files, config, on_devices)?;
    Ok(prepared)
}

/// Fetches and loads a model for something else than serving it: on the CPU alone.
///
/// # Errors
///
/// As [`fetch_model`] and [`load_prepared`].
pub(crate) fn load_model(
    name: &str,
    options: &FetchOptions,
    wanted: &kernels::Wanted,
) -> anyhow::Result<LoadedModel> {
    let fetched = fetch_model(name, options)?;
    load_prepared(Prepared { fetched, placement: Placement::default() }, wanted)
}

/// Fetches and loads a model that an engine will be made for as the configuration says.
///
/// # Errors
///
/// As [`prepare`] and [`load_prepared`].
pub(crate) fn load_model_to_run(
    name: &str,
    options: &FetchOptions,
    config: &Config,
) -> anyhow::Result<LoadedModel> {
    let one = prepare(std::iter::once(name), options, config)?.pop().context("one name gives one model")?;
    load_prepared(one, &kernels::Wanted::of(config))
}

/// Loads a model file that is here, by the kernels that are right for it here.
///
/// # Errors
///
/// When it is not one that the engine runs, or no kernels compute on this machine.
pub(crate) fn load_prepared(prepared: Prepared, wanted: &kernels::Wanted) -> anyhow::Result<LoadedModel> {
    let Prepared { fetched, placement } = prepared;
    service_manager::starting(&format!("checking the kernels for {}", fetched.name));
    let kernels = kernels::choose(&fetched.path, wanted)?;
    // Plain kernels compute on the CPU alone.
    let is_placed = kernels.kernels == Kernels::Fast;
    let Placement { devices, gpu_layers, .. } = if is_placed { placement } else { Placement::default() };
    let before_load = host::resident_bytes();
    let started = Instant::now();
    service_manager::starting(&format!("loading {}", fetched.name));
    let called = fetched.name.clone();
    let on_progress = move |part: f32| {
        service_manager::still_starting(|| format!("loading {called}: {:.0} %", part * 100.0));
    };
    let load = LoadOptions { gpu_layers, kernels: kernels.kernels, ..LoadOptions::default() };
    let model = LlamaModel::load_on(&fetched.path, &load, &devices, on_progress)
        .map_err(|error| hinted(&error, error.hint()))?;
    Ok(LoadedModel {
        model: Arc::new(model),
        name: fetched.name,
        path: fetched.path,
        kernels,
        load_ms: profile::millis(started),
        memory: Memory { before_load, loaded: host::resident_bytes(), measured: None },
    })
}
