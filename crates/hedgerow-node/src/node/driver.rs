//! The driver that runs the core's pipeline in wall time: one thread that turns arrivals, cancellations and engine
//! reports into pipeline events, and carries out the pipeline's orders.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Add;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::allocator::Share;
use hedgerow_core::engine::prefix::PrefixIndex;
use hedgerow_core::engine::{EngineError, GenerationTask, StepReport};
use hedgerow_core::output::Record;
use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::scheduler::LiveStatus;
use hedgerow_core::time::Instant;
use hedgerow_core::units::BitsPerSecond;
use hedgerow_core::{Event, Order, Pipeline};
use hedgerow_llama::SharedPrefixes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::engine_thread::EngineCommand;
use super::events::{EventSource, Events};
use super::recorder::Recorder;
use super::state::NodeState;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::request_log::RequestLog;

/// A message to the driver thread.
#[derive(Debug)]
pub(super) enum Command {
    /// A request has arrived.
    Submit(Box<Submission>),
    /// The caller disconnected.
    Cancel(RequestId),
    /// The engine could not open a request.
    OpenFailed { request: RequestId, error: EngineError },
    /// The engine ran a step or failed to.
    StepEnded(Result<StepReport, EngineError>),
    /// The engine loaded a precision or failed to.
    Loaded { precision: PrecisionIndex, is_there: bool },
    /// The engine's thread has ended.
    EngineEnded,
    /// Shut the node down by the given time.
    Drain { by: Instant },
    /// Query the status of a request.
    Explain { request: RequestId, answer: oneshot::Sender<Option<RequestStatus>> },
    /// Query a snapshot of the node.
    State { answer: oneshot::Sender<NodeState> },
    /// Liveness check: the driver replies to show that it still processes commands.
    Ping { answer: oneshot::Sender<()> },
}

/// The status of a live request, or the record of an ended one.
#[derive(Clone, Debug)]
pub enum RequestStatus {
    /// The request has not ended.
    Live {
        /// Its progress, and when the latest plan expects it to be done.
        status: LiveStatus,
        /// Time of the query, on the same clock as the times in `status`.
        now: Instant,
    },
    /// The request has ended.
    Ended(Box<Record>),
}

const TICK: Duration = Duration::from_secs(1);
/// The longest that a step may take, in ticks: more than a step of the largest model on the slowest machine. Ticks are
/// counted instead of time, because in a stopped process or a suspended machine neither the engine nor the ticks go on.
const STEP_TICKS_MAX: u32 = 300;

/// Number of ended requests whose status can still be queried.
const REMEMBERED: usize = 1_000;

/// A request on its way into the pipeline.
#[derive(Debug)]
pub(super) struct Submission {
    pub request: Request,
    pub work: GenerationTask,
    /// The channel that receives the request's updates.
    pub(crate) updates: UnboundedSender<Update>,
    /// The queue slot, reserved before the body was read; released when the request starts or ends.
    pub place: OwnedSemaphorePermit,
    /// Its log line.
    pub log: Arc<RequestLog>,
}

/// One event in a request's response stream.
#[derive(Debug)]
pub enum Update {
    /// The request was scheduled; from here on it is admitted.
    Started {
        /// The rate at which to send the answer; `None` where the downlink is not managed.
        rate: Option<BitsPerSecond>,
    },
    /// One more token; its text may be empty.
    Token(String),
    /// The request has ended; no update follows.
    Ended(Box<Record>),
}

/// The driver's state: the pipeline, and the per-request data that the core does not handle.
pub(super) struct Driver {
    pub(crate) pipeline: Pipeline,
    pub clock: Clock,
    pub engine: Sender<EngineCommand>,
    /// The engine's prefix cache; a cached prefix is claimed before the scheduler plans with it.
    prefixes: SharedPrefixes,
    pub metrics: Arc<Metrics>,
    recorder: Recorder,
    events: Events,
    waiting: BTreeMap<RequestId, (GenerationTask, OwnedSemaphorePermit)>,
    readers: BTreeMap<RequestId, Reader>,
    wake: Option<Instant>,
    /// How often the driver looks at a running step.
    tick: Duration,
    /// The age of the step that the engine runs, in ticks; `None` if it runs none.
    step_ticks: Option<u32>,
    /// Records of the most recently ended requests, for status queries.
    ended: VecDeque<Record>,
}

struct Reader {
    updates: UnboundedSender<Update>,
    log: Arc<RequestLog>,
    /// Whether the prompt was looked up in the prefix cache.
    is_looked_up: bool,
    /// When the latest token was produced.
    last_token: Option<Instant>,
}

impl Driver {
    /// A driver of an idle pipeline.
    pub(super) fn new(
        pipeline: Pipeline,
        clock: Clock,
        engine: Sender<EngineCommand>,
        prefixes: SharedPrefixes,
        metrics: Arc<Metrics>,
        recorder: Recorder,
    ) -> Self {
        Self {
            pipeline,
            clock,
            engine,
            prefixes,
            metrics,
            recorder,
            events: Events::new(clock.now()),
            waiting: BTreeMap::new(),
            readers: BTreeMap::new(),
            wake: None,
            tick: TICK,
            step_ticks: None,
            ended: VecDeque::new(),
        }
    }

    /// What subscribes to its events.
    pub(super) fn event_source(&self) -> EventSource {
        self.events.source()
    }

    /// Runs until all command senders are dropped, or until a shutdown has drained the node.
    ///
    /// # Errors
    ///
    /// When the engine's thread ends or does not end a step: the reason. The requests' update channels are closed then.
    pub(super) fn run(mut self, commands: &Receiver<Command>) -> Result<(), String> {
        let mut is_draining = false;
        while !(is_draining && self.pipeline.is_idle()) {
            let event = match self.next(commands) {
                Next::Command(Command::EngineEnded) => {
                    return Err("the engine's thread has ended".to_owned());
                }
                Next::Command(command) => {
                    is_draining |= matches!(command, Command::Drain { .. });
                    self.event_of(command)
                }
                Next::Wake => Some(Event::Woke),
                Next::Stuck => return Err(format!("a step of the engine has taken {STEP_TICKS_MAX} s")),
                Next::Gone => return Ok(()),
            };
            if let Some(event) = event {
                self.handle(event);
            }
        }
        Ok(())
    }

    fn next(&mut self, commands: &Receiver<Command>) -> Next {
        loop {
            let until_wake = self.wake.map(|wake| Duration::from_nanos(wake.since(self.clock.now()).0));
            let until_tick = self.step_ticks.map(|_| self.tick);
            let Some(wait) = until_wake.into_iter().chain(until_tick).min() else {
                return commands.recv().map_or(Next::Gone, Next::Command);
            };
            match commands.recv_timeout(wait) {
                Ok(command) => return Next::Command(command),
                Err(RecvTimeoutError::Disconnected) => return Next::Gone,
                Err(RecvTimeoutError::Timeout) if until_wake == Some(wait) => {
                    self.wake = None;
                    return Next::Wake;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let ticks = self.step_ticks.map_or(0, |ticks| ticks + 1);
                    if ticks >= STEP_TICKS_MAX {
                        return Next::Stuck;
                    }
                    self.step_ticks = Some(ticks);
                }
            }
        }
    }

    /// Converts a command to a pipeline event; `None` for a query.
    fn event_of(&mut self, command: Command) -> Option<Event> {
        Some(match command {
            Command::Submit(submission) => {
                let Submission { mut request, work, updates, place, log } = *submission;
                let is_looked_up = work.cache_prompt && self.prefixes().is_enabled();
                // A KV cache computed at one precision cannot be reused at another, and the request's precision is
                // not known yet. With several precisions, no prefix is claimed here; the engine uses what it finds.
                if is_looked_up && self.pipeline.node().precisions.len() == 1 {
                    request.cached = self.prefixes().claim(request.id, &work.prompt_tokens);
                }
                self.events.arrived(self.clock.now(), &request);
                self.waiting.insert(request.id, (work, place));
                self.readers.insert(request.id, Reader { updates, log, is_looked_up, last_token: None });
                Event::Arrived(request)
            }
            Command::Cancel(id) => Event::Cancelled(id),
            Command::OpenFailed { request, error } => Event::OpenFailed { request, error },
            // Handled by `run`.
            Command::EngineEnded => return None,
            Command::StepEnded(Ok(report)) => {
                self.step_ticks = None;
                self.note_tokens(&report);
                Event::StepDone(report)
            }
            Command::StepEnded(Err(error)) => {
                self.step_ticks = None;
                tracing::error!(%error, "a step failed");
                Event::StepFailed(error)
            }
            Command::Loaded { precision, is_there } => {
                self.metrics.resident(self.name_of(precision), is_there);
                self.metrics.loaded(self.name_of(precision));
                Event::Loaded { precision, is_there }
            }
            Command::Drain { by } => Event::Drain { by },
            Command::Explain { request, answer } => {
                // The receiver may have been dropped.
                let _ = answer.send(self.explain(request));
                return None;
            }
            Command::State { answer } => {
                // The receiver may have been dropped.
                let _ = answer.send(NodeState::of(&self.pipeline, self.clock.now()));
                return None;
            }
            Command::Ping { answer } => {
                // The receiver may have been dropped.
                let _ = answer.send(());
                return None;
            }
        })
    }

    fn explain(&self, id: RequestId) -> Option<RequestStatus> {
        let now = self.clock.now();
        if let Some(status) = self.pipeline.live_status(now, id) {
            return Some(RequestStatus::Live { status, now });
        }
        let ended = self.ended.iter().rev().find(|record| record.request.id == id)?;
        Some(RequestStatus::Ended(Box::new(ended.clone())))
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        // Record first, so that an event that makes the pipeline panic can be replayed.
        self.recorder.event(now, &event);
        let orders = self.pipeline.on_event(now, event);
        self.metrics.planning(self.clock.now().since(now));
        for order in orders {
            self.carry_out(now, order);
        }
        self.metrics.state(
            self.pipeline.queue_len(),
            self.pipeline.running().len(),
            self.pipeline.calibration(),
        );
        let held = self.pipeline.running().iter().map(|running| running.grant.downlink);
        self.metrics.downlink(held.fold(Share::NONE, Add::add));
        if self.pipeline.is_idle() {
            self.pipeline.assert_conserved();
        }
    }

    fn carry_out(&mut self, now: Instant, order: Order) {
        match order {
            Order::Start(running) => {
                let id = running.request.id;
                let Some((work, _place)) = self.waiting.remove(&id) else { return };
                let Some(reader) = self.readers.get(&id) else { return };
                let wire = self.pipeline.node().wire.as_ref();
                let rate = wire.map(|wire| wire.rate_of(running.grant.downlink));
                // If the receiver was dropped, the cancellation is already in the command queue.
                let _ = reader.updates.send(Update::Started { rate });
                let updates = reader.updates.clone();
                let precision = running.precision;
                self.metrics.started(self.name_of(precision));
                self.events.started(now, &running, self.name_of(precision));
                self.tell_engine(EngineCommand::Open { request: id, precision, work, updates });
            }
            Order::Stop(id) => self.tell_engine(EngineCommand::Close(id)),
            Order::Run(step) => {
                self.metrics.step(step.request_count());
                self.events.step(now, &step);
                self.step_ticks = Some(0);
                self.tell_engine(EngineCommand::Step(step));
            }
            Order::Load(precision) => {
                tracing::info!(precision = %self.name_of(precision), "loading");
                self.events.loading(self.name_of(precision));
                self.tell_engine(EngineCommand::Load(precision));
            }
            Order::Unload(precision) => {
                tracing::info!(precision = %self.name_of(precision), "unloading");
                self.metrics.resident(self.name_of(precision), false);
                self.events.unloaded(self.name_of(precision));
                self.tell_engine(EngineCommand::Unload(precision));
            }
            Order::End(record) => self.end(now, record),
            Order::Planned(report) => self.metrics.plan(&report),
            Order::WakeAt(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
        }
    }

    fn end(&mut self, now: Instant, record: Record) {
        self.recorder.ended(now, &record);
        self.events.ended(&record);
        self.waiting.remove(&record.request.id);
        // If the request started, the engine has already settled the claim on its cached prefix.
        self.prefixes().release(record.request.id);
        self.metrics.request(&record);
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(record.clone());
        if let Some(reader) = self.readers.remove(&record.request.id) {
            if reader.is_looked_up && record.started.is_some() {
                self.metrics.prefix(record.request.prompt_len, record.cached);
            }
            let precision = record.precision.map(|precision| self.name_of(precision).to_owned());
            reader.log.note(|facts| facts.ended = Some((record.clone(), precision)));
            let _ = reader.updates.send(Update::Ended(Box::new(record)));
        }
    }

    fn name_of(&self, precision: PrecisionIndex) -> &str {
        &self.pipeline.node().precisions[precision.0].name
    }

    fn note_tokens(&mut self, report: &StepReport) {
        let now = self.clock.now();
        for progress in report.progress.iter().filter(|progress| progress.produced) {
            if let Some(reader) = self.readers.get_mut(&progress.request) {
                let before = reader.last_token.replace(now);
                self.metrics.token(before.map(|before| now.since(before)));
            }
        }
    }

    fn prefixes(&self) -> MutexGuard<'_, PrefixIndex> {
        // The engine thread reports its own panic; the index is consistent after it.
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_engine(&self, command: EngineCommand) {
        // The engine thread ends only after this one; if it panicked, that has been reported.
        let _ = self.engine.send(command);
    }
}

enum Next {
    Command(Command),
    Wake,
    /// The engine does not end its step.
    Stuck,
    /// All command senders are dropped.
    Gone,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use hedgerow_core::engine::Sampling;
    use hedgerow_core::pipeline::scripted;
    use hedgerow_core::units::Tokens;
    use hedgerow_solver::Policy;
    use tokio::sync::Semaphore;

    use super::*;

    /// A driver with one submitted request, whose engine takes orders and never answers; its updates.
    fn with_a_silent_engine() -> (Driver, Sender<Command>, Receiver<Command>, mpsc::Receiver<EngineCommand>) {
        let pipeline = Pipeline::new(scripted::node(), scripted::settings(Policy::Exact));
        let (engine, orders) = mpsc::channel();
        let (sender, commands) = mpsc::channel();
        let (metrics, prefixes) = (Arc::new(Metrics::new()), Arc::new(PrefixIndex::new(0).into()));
        let driver = Driver::new(pipeline, Clock::start(), engine, prefixes, metrics, Recorder::default());
        (driver, sender, commands, orders)
    }

    fn submission(clock: Clock) -> (Submission, tokio::sync::mpsc::UnboundedReceiver<Update>) {
        let (updates, receiver) = tokio::sync::mpsc::unbounded_channel();
        let work = GenerationTask {
            prompt_tokens: vec![hedgerow_core::engine::TokenId(1)],
            max_output: Tokens(2),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            ignore_eos: false,
            cache_prompt: false,
        };
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let request = Request::new(RequestId(1), clock.now(), Tokens(1), Tokens(2));
        let log = RequestLog::new(clock, &Arc::new(Metrics::new()));
        (Submission { request, work, updates, place, log }, receiver)
    }

    #[test]
    fn a_step_that_never_ends_ends_the_driver_and_its_requests() {
        let (mut driver, sender, commands, orders) = with_a_silent_engine();
        driver.tick = Duration::from_millis(1);
        let (submission, mut updates) = submission(driver.clock);
        sender.send(Command::Submit(Box::new(submission))).unwrap();
        let reason = driver.run(&commands).unwrap_err();
        assert_eq!(reason, "a step of the engine has taken 300 s");
        let orders: Vec<EngineCommand> = orders.try_iter().collect();
        assert!(matches!(orders.last(), Some(EngineCommand::Step(_))), "{orders:?}");
        drop(orders);
        assert!(matches!(updates.try_recv(), Ok(Update::Started { .. })));
        assert!(updates.blocking_recv().is_none(), "its request has ended");
    }

    #[test]
    fn the_death_of_the_engine_ends_the_driver_and_its_requests() {
        let (driver, sender, commands, orders) = with_a_silent_engine();
        let (submission, mut updates) = submission(driver.clock);
        sender.send(Command::Submit(Box::new(submission))).unwrap();
        sender.send(Command::EngineEnded).unwrap();
        assert_eq!(driver.run(&commands).unwrap_err(), "the engine's thread has ended");
        drop(orders);
        while let Ok(update) = updates.try_recv() {
            assert!(matches!(update, Update::Started { .. }), "{update:?}");
        }
        assert!(updates.blocking_recv().is_none(), "its request has ended");
    }
}
