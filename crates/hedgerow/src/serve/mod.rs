//! The node in wall time: a thread for decisions, a thread for the engine, and the way in and out.
//!
//! [`start`] builds it from a loaded model; the HTTP side hands requests to [`Node::submit`] and hears
//! their stories from a [`Ticket`].

mod clock;
mod driver;
mod engine_thread;
mod recorder;
mod ticket;

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use hedgerow_core::Pipeline;
use hedgerow_core::allocator::Wire;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_core::engine::{CostModel, Engine as _, EngineLimits, Work};
use hedgerow_core::quantization::Precision;
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel};
use hedgerow_sim::Header;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use clock::Clock;
pub(crate) use driver::Explanation;
use driver::{Command, Driver, Submission};
use recorder::Recorder;
pub(crate) use recorder::create as create_recording;
pub(crate) use ticket::{Ticket, Update};

use crate::config::Config;
use crate::hint::hinted;
use crate::metrics::Metrics;
use crate::profile::{Known, Profiler};

/// A running node.
pub(crate) struct Node {
    model: Arc<LlamaModel>,
    /// The node as the core sees it.
    shape: hedgerow_core::node::Node,
    limits: EngineLimits,
    cost: MeasuredCost,
    commands: mpsc::Sender<Command>,
    places: Arc<Semaphore>,
    next_id: AtomicU64,
    clock: Clock,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// A recording to make.
pub(crate) struct NewRecording {
    /// Where to.
    pub(crate) file: File,
    /// What the model is called.
    pub(crate) model: String,
}

/// Where a node has its step times from.
#[derive(Debug)]
pub(crate) enum Speed {
    /// They are known.
    Known(Box<MeasuredCost>),
    /// From a profile: the saved one, or one that is measured now.
    Profile(Box<Profiler>),
}

/// Starts a node: makes an engine of the model, finds out how fast it is, and begins to serve.
///
/// # Errors
///
/// When the engine cannot be made in the configured size, or fails while it is measured.
pub(crate) fn start(
    model: Arc<LlamaModel>,
    config: &Config,
    clock: Clock,
    metrics: &Arc<Metrics>,
    speed: Speed,
    recording: Option<NewRecording>,
) -> anyhow::Result<Node> {
    let (engine_sender, engine_commands) = mpsc::channel();
    let (commands, driver_commands) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel();
    let engine = std::thread::Builder::new().name("engine".into()).spawn({
        let (model, driver, kv_tokens) = (Arc::clone(&model), commands.clone(), metrics.kv_tokens());
        let options = engine_options(config);
        move || match prepare(&model, &options, speed) {
            Ok((mut engine, cost)) => {
                // The starter waits for this; if it is gone there is nobody to serve.
                if ready_sender.send(Ok((engine.limits(), cost, engine.prefixes()))).is_ok() {
                    engine_thread::run(&mut engine, &engine_commands, &driver, &kv_tokens);
                }
            }
            Err(error) => drop(ready_sender.send(Err(error))),
        }
    })?;
    let (limits, cost, prefixes) = ready.recv().context("the engine's thread ended while it started")??;
    let shape = describe(&model, config, limits, &cost);
    let pipeline = Pipeline::new(shape.clone(), config.settings.clone());
    metrics.set_kv_capacity(limits.kv.0);
    let (recorder, writer) = start_recorder(recording, &pipeline, config, clock)?;
    let driver = Driver::new(pipeline, clock, engine_sender, prefixes, Arc::clone(metrics), recorder);
    let driver =
        std::thread::Builder::new().name("driver".into()).spawn(move || driver.run(&driver_commands))?;
    Ok(Node {
        model,
        shape,
        limits,
        cost,
        commands,
        places: Arc::new(Semaphore::new(config.settings.queue_capacity)),
        next_id: AtomicU64::new(0),
        clock,
        threads: std::sync::Mutex::new([driver, engine].into_iter().chain(writer).collect()),
    })
}

fn start_recorder(
    recording: Option<NewRecording>,
    pipeline: &Pipeline,
    config: &Config,
    clock: Clock,
) -> anyhow::Result<(Recorder, Option<JoinHandle<()>>)> {
    let Some(NewRecording { file, model }) = recording else { return Ok((Recorder::default(), None)) };
    let header = Header {
        version: env!("CARGO_PKG_VERSION").into(),
        started_unix_ms: clock.started_unix_ms(),
        model,
        node: pipeline.node().clone(),
        settings: config.settings.clone(),
    };
    let (recorder, writer) = Recorder::start(file, header).context("starting the recorder's thread")?;
    Ok((recorder, Some(writer)))
}

fn prepare<'m>(
    model: &'m LlamaModel,
    options: &EngineOptions,
    speed: Speed,
) -> anyhow::Result<(LlamaEngine<'m>, MeasuredCost)> {
    let mut engine = LlamaEngine::new(model, options).map_err(|error| hinted(&error, error.hint()))?;
    let cost = match speed {
        Speed::Known(cost) => *cost,
        Speed::Profile(profiler) => {
            let known = profiler.profile(&mut engine)?;
            let path = profiler.path();
            match known {
                Known { is_new: false, .. } => tracing::info!("its speed is known from {}", path.display()),
                Known { is_saved: true, .. } => {
                    tracing::info!("its speed is measured; saved as {}", path.display())
                }
                Known { .. } => {}
            }
            known.profile.cost
        }
    };
    Ok((engine, cost))
}

/// The engine that a configuration asks for.
pub(crate) fn engine_options(config: &Config) -> EngineOptions {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let threads = config.engine.threads.unwrap_or(cores);
    EngineOptions {
        parallel: config.engine.parallel,
        context: config.engine.context,
        retained: config.engine.retained,
        threads,
        threads_batch: threads,
        micro_batch: Tokens(config.engine.micro_batch),
        kv_unified: false,
        flash_attention: true,
        kv_type: config.engine.kv_type,
    }
}

/// The node as the core sees it.
fn describe(
    model: &LlamaModel,
    config: &Config,
    limits: EngineLimits,
    cost: &MeasuredCost,
) -> hedgerow_core::node::Node {
    let info = model.info();
    // The cache of running requests only: what is retained of ended ones lies beside it and is nobody's.
    let shape = hedgerow_core::node::ModelShape { kv_type: config.engine.kv_type, ..info.shape };
    let kv = limits.kv.bytes(shape.kv_per_token());
    hedgerow_core::node::Node {
        memory: info.weights + kv,
        model: shape,
        precisions: vec![Precision {
            name: info.precision.clone(),
            weights: info.weights,
            beta_prefill: 1.0,
            beta_decode: 1.0,
            quality: config.model.quality,
        }],
        cost: CostModel::Measured(cost.clone()),
        max_parallel: limits.parallel,
        context: limits.context,
        prefill_chunk: config.engine.prefill_chunk,
        radio: None,
        wire: config.link.wire,
    }
}

impl Node {
    /// The model it serves.
    pub(crate) fn model(&self) -> &Arc<LlamaModel> {
        &self.model
    }

    /// What its engine can hold.
    pub(crate) fn limits(&self) -> EngineLimits {
        self.limits
    }

    /// How fast its engine was measured to be.
    pub(crate) fn cost(&self) -> &MeasuredCost {
        &self.cost
    }

    /// The link it shares out, if it is to.
    pub(crate) fn wire(&self) -> Option<Wire> {
        self.shape.wire
    }

    /// The least time between the first and the last token of an answer.
    pub(crate) fn least_decoding(&self, prompt: Tokens, output: Tokens) -> Span {
        let Self { shape, .. } = self;
        let step = |precision| shape.cost.decode(&shape.model, precision, 1, prompt);
        let fastest = shape.precisions.iter().map(step).min().unwrap_or_default();
        fastest * output.0.saturating_sub(1)
    }

    /// Reserves a place in the queue, before anything is spent on the request; `None` if none is left.
    pub(crate) fn reserve_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// A name for a new request.
    pub(crate) fn new_id(&self) -> RequestId {
        RequestId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a request in. Dropping the ticket before the request has ended cancels it.
    pub(crate) fn submit(&self, request: Request, work: Work, place: OwnedSemaphorePermit) -> Ticket {
        let (updates, story) = tokio::sync::mpsc::unbounded_channel();
        let id = request.id;
        let submission = Submission { request, work, updates, place };
        // If the driver is gone, the story's channel is closed and the ticket says so.
        let _ = self.commands.send(Command::Submit(Box::new(submission)));
        Ticket::new(id, story, self.commands.clone())
    }

    /// How a request stands or ended; `None` when nobody remembers it.
    pub(crate) async fn explain(&self, request: RequestId) -> Option<Explanation> {
        let (answer, explanation) = tokio::sync::oneshot::channel();
        self.commands.send(Command::Explain { request, answer }).ok()?;
        explanation.await.ok().flatten()
    }

    /// Shuts down: admits nobody, lets end what can end within `grace`, tells the rest, and waits for it.
    pub(crate) fn shut_down(&self, grace: Span) {
        // If the driver is gone, it is shut down already.
        let _ = self.commands.send(Command::Drain { by: self.clock.now() + grace });
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the node had panicked");
            }
        }
    }
}
