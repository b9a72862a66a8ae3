//! The server as a whole: it listens, loads, serves and shuts down.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use hedgerow_core::time::Span;
use hedgerow_core::units::Quality;
use hedgerow_llama::{LlamaModel, LoadOptions};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{self, App, ChatTemplate, Serving};
use crate::config::Config;
use crate::hint::hinted;
use crate::kernels::{self, Chosen};
use crate::link::{Connection, Door};
use crate::metrics::Metrics;
use crate::models::{self, Bar, FetchOptions, ModelSource};
use crate::profile::{self, Memory};
use crate::serve::{self, Clock, NewRecording, Speed, Variant};

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
        let asked = SocketAddr::new(config.server.host, config.server.port);
        let listener = TcpListener::bind(asked).await.map_err(|error| {
            hinted(
                format!("cannot listen on {asked}: {error}"),
                "choose another --port or --host; --port 0 takes any free port",
            )
        })?;
        let address = listener.local_addr().context("asking for the port that was taken")?;
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        let app = App::new(config.clone(), clock, Arc::clone(&metrics));
        let (stop_listening, stopped) = oneshot::channel();
        let door = Door::new(listener, metrics.downlink_bytes());
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

    /// Starts a node with the precisions of a model and serves requests. Blocks meanwhile: some seconds if the engine has to
    /// be measured. What happens goes to `record`, if that is given.
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

/// Fetches and loads a model, with a bar while it takes, by the kernels that are right for it here.
///
/// # Errors
///
/// When it cannot be fetched, is damaged, is not one that the engine runs, or no kernels compute on this machine.
pub(crate) fn load_model(
    name: &str,
    options: &FetchOptions,
    wanted: &kernels::Wanted,
) -> anyhow::Result<LoadedModel> {
    let source: ModelSource = name.parse()?;
    let bar = Bar::new();
    let fetched = models::fetch(&source, options, &|progress| bar.show(progress));
    bar.finish();
    let fetched = fetched?;
    models::validate_gguf(&fetched.path)?;
    let kernels = kernels::choose(&fetched.path, wanted)?;
    let load = LoadOptions { kernels: kernels.kernels, ..LoadOptions::default() };
    let before_load = profile::resident_bytes();
    let started = Instant::now();
    let model =
        LlamaModel::load(&fetched.path, &load, |_| {}).map_err(|error| hinted(&error, error.hint()))?;
    Ok(LoadedModel {
        model: Arc::new(model),
        name: fetched.name,
        path: fetched.path,
        kernels,
        load_ms: profile::millis(started),
        memory: Memory { before_load, loaded: profile::resident_bytes(), measured: None },
    })
}
