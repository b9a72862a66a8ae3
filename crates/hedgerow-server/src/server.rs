//! The server's life cycle: it listens, loads, serves and shuts down.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use hedgerow_node::chat_template::ChatTemplate;
use hedgerow_node::clock::Clock;
use hedgerow_node::config::Config;
use hedgerow_node::kernels::Chosen;
use hedgerow_node::metrics::Metrics;
use hedgerow_node::node::{self, NewRecording, Variant};
use hedgerow_workload::hint::hinted;
use tokio::net::TcpListener;

use crate::api::{self, App, OriginRules, ServedModel};
use crate::connections::{Connections, Tls};

/// A listening server; it responds with 503 until [`Server::serve`] succeeds.
pub struct Server {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    app: App,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    connections: Connections,
}

/// Time for the last bytes of the responses, after all requests have ended.
const LAST_BYTES: Duration = Duration::from_secs(2);

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the port is in use or the address does not belong to this machine; when the keys file or the certificate is
    /// invalid.
    pub async fn listen(config: Config) -> anyhow::Result<Self> {
        let listener = bind(&config.server.host, config.server.port).await?;
        let address = listener.local_addr().context("asking for the port that was taken")?;
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new());
        let app = App::new(config.clone(), clock, Arc::clone(&metrics))?;
        let origins = OriginRules::new(address, &config.server.allowed_hosts, &config.server.allowed_origins);
        let router = api::router(app.clone(), origins);
        api::start_batches(&app, router.clone())?;
        let tls = config.server.tls.as_ref().map(|files| Tls::new(&files.certificate, &files.key));
        let tls = tls.transpose()?.map(Arc::new);
        let connections =
            Connections::accept(listener, router, &config.limits, metrics.connections(), tls.clone());
        Ok(Self { config, clock, metrics, app, address, tls, connections })
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
        let catalogue = OnceLock::new();
        self.app.register(ServedModel { node, name, template, kernels, catalogue });
        Ok(())
    }

    /// The URL of the API.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/v1", self.address)
    }

    /// Reads the keys and the certificate again. Reports in the log what was read, and what is wrong and therefore remains
    /// as it was.
    pub fn reload(&self) {
        match self.app.reload_keys() {
            Ok(Some(keys)) => tracing::info!(keys, "the keys file was read again"),
            Ok(None) => {}
            Err(error) => tracing::error!("the keys in force remain: {error:#}"),
        }
        match self.tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => tracing::info!("the certificate was read again"),
            None => {}
            Some(Err(error)) => tracing::error!("the certificate in force remains: {error:#}"),
        }
    }

    /// The server's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The HTTP application, which serves once [`Server::serve`] has succeeded.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Waits until the node cannot serve any more, and returns the reason. Never returns before the model is served.
    pub async fn failed(&self) -> Arc<str> {
        match self.app.node() {
            Some(node) => node.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Admits no new requests, lets those that can finish within the grace period finish, ends and notifies the
    /// others, and stops listening. A client that takes no more bytes is cut off.
    ///
    /// # Errors
    ///
    /// When the node cannot be waited for.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        let Self { config, app, connections, .. } = self;
        app.drain();
        let grace = config.server.shutdown_grace;
        tokio::task::spawn_blocking(move || {
            if let Some(node) = app.node() {
                node.shut_down(grace);
            }
        })
        .await
        .context("shutting the node down")?;
        connections.close(LAST_BYTES).await;
        Ok(())
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
