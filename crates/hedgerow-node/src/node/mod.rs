//! The node in wall time: a driver thread that decides, an engine thread, and the channels to and from them.
//!
//! [`start`] builds it from the loaded precisions of a model. The HTTP side passes requests to [`Node::submit`] and
//! receives their updates from a [`RequestHandle`].

mod driver;
mod engine_thread;
mod engines;
mod events;
mod failure;
mod priority;
mod recorder;
mod request_handle;
mod state;
mod variants;

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use driver::{Command, Driver, Submission};
use events::EventSource;
use failure::Failure;
use hedgerow_core::Pipeline;
use hedgerow_core::allocator::Wire;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_core::engine::{CostModel, EngineLimits, GenerationTask};
use hedgerow_core::quantization::Precision;
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;
use hedgerow_llama::LlamaModel;
use hedgerow_workload::Header;
use recorder::Recorder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::config::Config;
use crate::engine_setup::{engine_options, settle_engine_thread};
use crate::metrics::Metrics;
use crate::profile::Profiler;
use crate::request_log::RequestLog;

pub use driver::RequestStatus;
pub use events::NodeEvent;
pub use priority::run_before_the_engine;
pub use recorder::RecordingFile;
pub use request_handle::{RequestHandle, Update};
pub use state::{CalibrationState, NodeState, PrecisionState, RunningState, WaitingState};
pub use variants::{PlannedVariant, Variant, node_of};

/// The random bits of a request id; the others count requests, enough for years.
const SECRET_BITS: u32 = 34;

/// A running node.
pub struct Node {
    model: Arc<LlamaModel>,
    /// The node as the core sees it.
    shape: hedgerow_core::node::Node,
    limits: EngineLimits,
    commands: mpsc::Sender<Command>,
    places: Arc<Semaphore>,
    next_id: AtomicU64,
    clock: Clock,
    events: EventSource,
    failure: Failure,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// A new recording to write.
pub struct NewRecording {
    /// The file to write to.
    pub file: File,
    /// The model's name.
    pub model: String,
}

/// The source of a node's step times.
#[derive(Debug)]
pub enum Speed {
    /// A known cost model.
    Known(Box<MeasuredCost>),
    /// A profile: the saved one, or one measured at the start.
    Profile(Box<Profiler>),
}

/// Starts a node: creates an engine for each precision, determines its step times, and starts to serve.
///
/// # Errors
///
/// When an engine cannot be created in the configured size, or fails while it is measured.
pub fn start(
    variants: Vec<Variant>,
    config: &Config,
    clock: Clock,
    metrics: &Arc<Metrics>,
    recording: Option<NewRecording>,
) -> anyhow::Result<Node> {
    let model = variants.first().map(|variant| Arc::clone(&variant.model)).context("there is no model")?;
    let (engine_sender, engine_commands) = mpsc::channel();
    let (commands, driver_commands) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel();
    let failure = Failure::none();
    let engine = std::thread::Builder::new().name("engine".into()).spawn({
        let (driver, kv_tokens) = (commands.clone(), metrics.kv_tokens());
        let (options, config, failure) = (engine_options(config), config.clone(), failure.clone());
        let limit = config.model.weights_limit;
        let work = move |driver: &mpsc::Sender<Command>| {
            settle_engine_thread(&config);
            match variants::prepare(variants, options, limit) {
                Ok((mut engines, ready)) => {
                    // `start` waits for this message; if its receiver was dropped, there is nothing to serve.
                    if ready_sender.send(Ok((engines.limits(), engines.prefixes(), ready))).is_ok() {
                        engine_thread::run(&mut engines, &engine_commands, driver, &kv_tokens);
                    }
                }
                Err(error) => drop(ready_sender.send(Err(error))),
            }
        };
        move || {
            failure.watch("engine", || work(&driver));
            // After a shutdown the driver has ended before this thread, and takes no more commands.
            let _ = driver.send(Command::EngineEnded);
        }
    })?;
    let (limits, prefixes, ready) = ready.recv().context("the engine's thread ended while it started")??;
    let shape = variants::describe(model.info(), &ready, config, limits);
    let pipeline = Pipeline::new(shape.clone(), config.settings.clone());
    metrics.set_kv_capacity(limits.kv.0);
    for precision in &shape.precisions {
        metrics.resident(&precision.name, precision.residency.is_there_at_start());
    }
    let (recorder, writer) = start_recorder(recording, &pipeline, config, clock)?;
    let driver = Driver::new(pipeline, clock, engine_sender, prefixes, Arc::clone(metrics), recorder);
    let events = driver.event_source();
    let driver = std::thread::Builder::new().name("driver".into()).spawn({
        let failure = failure.clone();
        move || {
            failure.watch("driver", || {
                run_before_the_engine();
                if let Err(reason) = driver.run(&driver_commands) {
                    failure.set(reason);
                }
            });
        }
    })?;
    Ok(Node {
        model,
        shape,
        limits,
        commands,
        places: Arc::new(Semaphore::new(config.settings.queue_capacity)),
        next_id: AtomicU64::new(0),
        clock,
        events,
        failure,
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

/// Pings the driver that receives these commands; returns whether it replied.
async fn answers(commands: &mpsc::Sender<Command>) -> bool {
    let (answer, answered) = tokio::sync::oneshot::channel();
    commands.send(Command::Ping { answer }).is_ok() && answered.await.is_ok()
}

impl Node {
    /// The served model.
    pub fn model(&self) -> &Arc<LlamaModel> {
        &self.model
    }

    /// The limits of the engine.
    pub fn limits(&self) -> EngineLimits {
        self.limits
    }

    /// The served precisions.
    pub fn precisions(&self) -> &[Precision] {
        &self.shape.precisions
    }

    /// The measured cost model of the first precision.
    pub fn cost(&self) -> &MeasuredCost {
        match &self.shape.cost {
            CostModel::Measured(cost) => cost,
            CostModel::Flops(_) | CostModel::Roofline(_) => unreachable!("a node that serves is measured"),
        }
    }

    /// The managed link, if link management is configured.
    pub fn wire(&self) -> Option<Wire> {
        self.shape.wire
    }

    /// The minimum time between the first and the last token of an answer.
    pub fn least_decoding(&self, prompt: Tokens, output: Tokens) -> Span {
        self.shape.least_decoding(prompt, output)
    }

    /// Whether a queue slot is free.
    pub fn has_place(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Reserves a queue slot before any work is done for the request; `None` if the queue is full.
    pub fn reserve_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Returns a new request id: in ascending order, and not to be guessed from another, because an id is enough to ask
    /// about its request.
    pub fn new_id(&self) -> RequestId {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        RequestId(number << SECRET_BITS | rand::random::<u64>() >> (64 - SECRET_BITS))
    }

    /// Submits a request, whose line `log` gets its record. Dropping the returned handle before the request has ended cancels the request.
    pub fn submit(
        &self,
        request: Request,
        work: GenerationTask,
        place: OwnedSemaphorePermit,
        log: Arc<RequestLog>,
    ) -> RequestHandle {
        let (updates, receiver) = tokio::sync::mpsc::unbounded_channel();
        let id = request.id;
        let submission = Submission { request, work, updates, place, log };
        // If the driver has ended, the update channel is closed and the handle reports that.
        let _ = self.commands.send(Command::Submit(Box::new(submission)));
        RequestHandle::new(id, receiver, self.commands.clone(), self.failure.clone())
    }

    /// The status of a live or recently ended request; `None` for any other id.
    pub async fn explain(&self, request: RequestId) -> Option<RequestStatus> {
        let (answer, explanation) = tokio::sync::oneshot::channel();
        self.commands.send(Command::Explain { request, answer }).ok()?;
        explanation.await.ok().flatten()
    }

    /// A snapshot of the node; `None` once its driver has ended.
    pub async fn state(&self) -> Option<NodeState> {
        let (answer, state) = tokio::sync::oneshot::channel();
        self.commands.send(Command::State { answer }).ok()?;
        state.await.ok()
    }

    /// Subscribes to what the node decides; `None` if there are `most` subscribers already, or the node has ended.
    pub fn events(&self, most: usize) -> Option<tokio::sync::broadcast::Receiver<NodeEvent>> {
        self.events.subscribe(most)
    }

    /// Why the node cannot serve any more; `None` as long as it can.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failure.get()
    }

    /// Waits until the node cannot serve any more, and returns the reason. By then each of its requests has ended, or is
    /// about to.
    pub async fn failed(&self) -> Arc<str> {
        self.failure.wait().await
    }

    /// Whether the driver thread replies to a ping. Waits as long as that thread is blocked.
    pub async fn answers(&self) -> bool {
        answers(&self.commands).await
    }

    /// Shuts down: admits no new requests, lets those that can finish within `grace` finish, ends and notifies the
    /// others, and waits for the threads.
    pub fn shut_down(&self, grace: Span) {
        // If the driver has ended, the node is shut down already.
        let _ = self.commands.send(Command::Drain { by: self.clock.now() + grace });
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            // An engine that is stuck would be waited for forever; the process ends without it.
            if self.failure.get().is_some() {
                return;
            }
            // A panic has been reported as the node's failure.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_driver_answers_only_as_long_as_it_takes_commands() {
        let (commands, driver) = mpsc::channel();
        let mut asked = Box::pin(answers(&commands));
        assert_eq!(asked.as_mut().now_or_never(), None, "a driver that is stuck does not answer");
        let Ok(Command::Ping { answer }) = driver.try_recv() else { panic!("it was asked") };
        answer.send(()).unwrap();
        assert_eq!(asked.now_or_never(), Some(true));
        let mut asked = Box::pin(answers(&commands));
        assert_eq!(asked.as_mut().now_or_never(), None);
        drop(driver);
        assert_eq!(asked.now_or_never(), Some(false), "it ended with the question in its queue");
        assert_eq!(answers(&commands).now_or_never(), Some(false), "it had ended before");
    }
}
