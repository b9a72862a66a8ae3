//! The server's life cycle: it listens, loads, serves and shuts down.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use hedgerow_node::chat_template::ChatTemplate;
use hedgerow_node::clock::Clock;
use hedgerow_node::config::Config;
use hedgerow_node::kernels::Chosen;
use hedgerow_node::metrics::Metrics;
use hedgerow_node::node::{self, NewRecording, Variant};
use hedgerow_workload::hint::hinted;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{self, App, ServedModel};
use crate::link::{Connection, PacedListener};

/// A listening server; it responds with 503 until [`Server::serve`] succeeds.
pub struct Server {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    app: App,
    address: SocketAddr,
    stop_listening: oneshot::Sender<()>,
    listening: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the port is in use or the address does not belong to this machine.
    pub async fn listen(config: Config) -> anyhow::Result<Self> {
        let listener = bind(&config.server.host, config.server.port).await?;
        let address = listener.local_addr().context("asking for the port that was taken")?;
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        let app = App::new(config.clone(), clock, Arc::clone(&metrics))
            .context("starting the threads that tokenize prompts")?;
        api::start_batches(&app)?;
        let (stop_listening, stopped) = oneshot::channel();
        let listener = PacedListener::new(listener, metrics.downlink_bytes());
        let service = api::router(app.clone()).into_make_service_with_connect_info::<Connection>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(async {
            // A dropped sender also ends the listening.
            let _ = stopped.await;
        });
        let listening = tokio::spawn(async move { serving.await });
        Ok(Self { config, clock, metrics, app, address, stop_listening, listening })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a node with the precisions of a model, and serves requests. Blocks until the node has started: ten
    /// seconds to minutes if the engine has to be measured. Events are recorded to `record`, if given.
    ///
    /// # Errors
    ///
    /// When the engine cannot be created or measured.
    pub fn serve(&self, variants: Vec<Variant>, name: &str, record: Option<File>) -> anyhow::Result<()> {
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
        let node = node::start(variants, config, self.clock, metrics, recording)?;
        self.app.register(ServedModel { node, name, template, kernels });
        Ok(())
    }

    /// The server's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The HTTP application, which serves once [`Server::serve`] has succeeded.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Admits no new requests, lets those that can finish within the grace period finish, ends and notifies the
    /// others, and stops listening.
    ///
    /// # Errors
    ///
    /// When listening has failed.
    pub async fn shut_down(self) -> anyhow::Result<()> {
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
        // If the listener has ended, there is nothing to stop.
        let _ = stop_listening.send(());
        listening.await.context("closing the connections")?.context("listening")
    }
}

/// Listens on an address, or on the first usable address of a name.
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
