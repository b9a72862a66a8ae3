//! The runner: runs the lines of the batches in the slack of other load.
//!
//! It takes the next line of the batch that expires first. Lines are best-effort requests, so they never displace
//! requests with deadlines; where the estimate says that a batch would not be done in its window, its lines get the end
//! of the window as their deadline, so that the scheduler knows it. A line that is refused or cut off waits again.
//! Only the store is durable: after a restart the runner begins with the lines that have no result.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use hedgerow_batch::{Answer, Begun, OpenBatch, Status};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::endpoints::now;
use super::failure::Failure;
use super::line::{self, Outcome};
use super::pace::Pace;
use super::store_thread::StoreThread;
use crate::api::App;

/// How often a line is run that the server fails to answer.
const ATTEMPTS: u32 = 3;

/// A line during which so many processes have ended is not run again: it may be what makes them end.
const INTERRUPTIONS: u32 = 5;

/// The runner looks at least this often, because estimates grow with time.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long to wait for the model, and after a failure of the store, before the next look.
const WAIT_FOR_MODEL: Duration = Duration::from_millis(250);
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The latest deadline that a request may have: for best-effort lines where requests have a default deadline.
const FAR: Duration = Duration::from_secs(86_400);

/// A line by its batch and its number.
type LineKey = (i64, i64);

/// Runs the batches of a server.
pub(super) struct Runner {
    app: App,
    router: Router,
    store: StoreThread,
    pub(super) pace: Pace,
    pub(super) tasks: JoinSet<Outcome>,
    pub(super) running: BTreeMap<LineKey, Running>,
    /// Results that are not stored yet.
    answers: Vec<(LineKey, Answer)>,
    /// Lines that the scheduler could not admit by the end of their window: best effort from now on.
    not_admitted: BTreeSet<LineKey>,
    /// How often the server failed to answer a line.
    failures: BTreeMap<LineKey, u32>,
}

pub(super) struct Running {
    task: AbortHandle,
    pub(super) begun: Instant,
    /// Until the end of the batch's window, if that is its deadline.
    deadline: Option<Duration>,
    /// Whether no other line may run beside it.
    is_suspect: bool,
}

impl Runner {
    pub(super) fn new(app: App, router: Router, store: StoreThread) -> Self {
        Self {
            app,
            router,
            store,
            pace: Pace::new(1),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            answers: Vec::new(),
            not_admitted: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Runs lines until the server shuts down; then drops those that run.
    pub(super) async fn run(mut self) {
        while self.app.served().is_err() {
            if self.is_draining() {
                return;
            }
            tokio::time::sleep(WAIT_FOR_MODEL).await;
        }
        if let Ok(served) = self.app.served() {
            self.pace = Pace::new(served.node.limits().parallel);
        }
        let app = self.app.clone();
        while !self.is_draining() {
            let pause = self.look().await.unwrap_or_else(|failure| {
                tracing::error!("batches pause for {} s: {failure}", AFTER_FAILURE.as_secs());
                AFTER_FAILURE
            });
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.note(ended),
                () = app.0.batches.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        // What they have computed is lost, but a shutdown need not wait for answers that no caller waits for.
        self.tasks.shutdown().await;
        if let Err(failure) = self.store.call(|store| store.give_back()).await {
            tracing::warn!("the running lines of batches are not given back: {failure}");
        }
    }

    fn is_draining(&self) -> bool {
        self.app.0.is_draining.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Stores results, ends and begins what is to end or begin; returns when to look again.
    pub(super) async fn look(&mut self) -> Result<Duration, Failure> {
        // With the disk full, no line is run whose result could not be stored.
        while let Some(((batch, number), answer)) = self.answers.last().cloned() {
            let status = self.store.call(move |store| store.finish(batch, number, &answer, now())).await?;
            self.answers.pop();
            if status == Status::Completed {
                self.report(batch).await?;
            }
        }
        let mut open = Vec::new();
        for batch in self.store.call(|store| store.open_batches()).await? {
            if self.is_to_go_on(&batch).await? {
                open.push(batch);
            }
        }
        self.begin_lines(&open).await?;
        let first_end = open.iter().map(|batch| left(batch.expires_at)).min();
        let pause = self.pace.pause(Instant::now());
        Ok(first_end.into_iter().chain(pause).fold(LOOK_EVERY, Duration::min))
    }

    /// Ends a batch that is cancelled or whose window has passed, and checks the lines of a new one; returns whether it
    /// goes on.
    async fn is_to_go_on(&mut self, batch: &OpenBatch) -> Result<bool, Failure> {
        let key = batch.key;
        if batch.status == Status::Cancelling {
            self.stop_lines(key);
            self.store.call(move |store| store.end_cancelled(key, now())).await?;
        } else if left(batch.expires_at).is_zero() {
            self.stop_lines(key);
            self.store.call(move |store| store.end_expired(key, now())).await?;
        } else if batch.status == Status::Validating {
            self.store.call(move |store| store.validate(key, now())).await?;
            // Its lines are counted at the next look, which follows at once.
            self.app.0.batches.wake_runner();
        } else {
            return Ok(true);
        }
        self.report(key).await?;
        Ok(false)
    }

    /// Logs a batch whose status has changed.
    async fn report(&self, key: i64) -> Result<(), Failure> {
        let batch = self.store.call(move |store| store.batch_by_key(key)).await?;
        let counts = batch.request_counts;
        tracing::info!(
            batch = %batch.id, total = counts.total, completed = counts.completed, failed = counts.failed,
            "batch {}", batch.status
        );
        Ok(())
    }

    /// Begins lines as far as there is room, of the batch that expires first.
    async fn begin_lines(&mut self, open: &[OpenBatch]) -> Result<(), Failure> {
        let mut ahead = 0;
        for batch in open {
            let (key, left) = (batch.key, left(batch.expires_at));
            ahead += batch.waiting;
            let is_late = self.pace.expected(ahead, Instant::now()) >= left;
            if is_late {
                self.restart_starved(key, left);
            }
            let room = self.room();
            if room == 0 {
                return Ok(());
            }
            let running: BTreeSet<i64> = self.lines_of(key).collect();
            let is_alone = self.running.is_empty();
            let all_run = running.len() as i64 == batch.waiting;
            let begun = self.store.call(move |store| store.begin(key, &running, room, is_alone)).await?;
            if begun.is_empty() && !all_run {
                // Its next line is to run alone, so those that run are waited for.
                return Ok(());
            }
            for begun in begun {
                self.run_line(key, begun, Some(left).filter(|_| is_late));
            }
        }
        Ok(())
    }

    /// How many more lines may begin.
    fn room(&self) -> usize {
        let is_exclusive = self.running.values().any(|line| line.is_suspect);
        if is_exclusive { 0 } else { self.pace.room(self.running.len(), Instant::now()) }
    }

    /// Runs a line of a batch, with the end of the batch's window as deadline if it is late.
    fn run_line(&mut self, batch: i64, begun: Begun, left: Option<Duration>) {
        let key = (batch, begun.number);
        let is_suspect = begun.is_suspect();
        let line = match begun.line {
            Ok(line) if begun.interruptions < INTERRUPTIONS => line,
            Ok(_) => {
                let message = format!("the server ended {INTERRUPTIONS} times while this line ran");
                return self.fail(key, &message);
            }
            Err(error) => return self.fail(key, &error.to_string()),
        };
        let deadline = left.filter(|_| !self.not_admitted.contains(&key));
        // Without one of its own, a line would get the default deadline of requests.
        let default = self.app.0.config.default_deadline.map(|_| FAR);
        let now = Instant::now();
        self.pace.begun(self.running.len(), now);
        let task = self.tasks.spawn(line::run(self.router.clone(), line, deadline.or(default)));
        self.running.insert(key, Running { task, begun: now, deadline, is_suspect });
    }

    /// Gives a line that cannot be run an error as its result, at the next look, which follows at once.
    fn fail(&mut self, key: LineKey, message: &str) {
        self.answers.push((key, line::failed(message)));
        self.app.0.batches.wake_runner();
    }

    /// The running lines of a batch.
    fn lines_of(&self, batch: i64) -> impl Iterator<Item = i64> {
        self.running.range((batch, i64::MIN)..=(batch, i64::MAX)).map(|((_, number), _)| *number)
    }

    /// Drops the running lines of a batch.
    fn stop_lines(&mut self, batch: i64) {
        let stop = |key: &LineKey, line: &mut Running| {
            let is_of_batch = key.0 == batch;
            if is_of_batch {
                line.task.abort();
            }
            !is_of_batch
        };
        self.running.retain(stop);
        self.not_admitted.retain(|key| key.0 != batch);
        self.failures.retain(|key, _| key.0 != batch);
    }

    /// Drops the best-effort lines of a late batch that have waited for longer than they could wait once more, so that
    /// they begin again with a deadline.
    fn restart_starved(&mut self, batch: i64, left: Duration) {
        let not_admitted = &self.not_admitted;
        self.running.retain(|key, line| {
            let is_starved = key.0 == batch
                && line.deadline.is_none()
                && !not_admitted.contains(key)
                && line.begun.elapsed() > left;
            if is_starved {
                line.task.abort();
            }
            !is_starved
        });
    }

    /// Notes that a task has ended.
    pub(super) fn note(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_cancelled() => return,
            Err(error) => (error.id(), Outcome::Failed(line::failed("running this line failed"))),
        };
        // A line that was dropped meanwhile, and perhaps begun again, has another task or none.
        let Some(key) = self.running.iter().find(|(_, line)| line.task.id() == task).map(|(key, _)| *key)
        else {
            return;
        };
        let Some(line) = self.running.remove(&key) else { return };
        match outcome {
            Outcome::Answer(answer) => self.answer(key, answer),
            Outcome::Failed(answer) => {
                let failures = self.failures.entry(key).or_insert(0);
                *failures += 1;
                if *failures == ATTEMPTS {
                    self.answer(key, answer);
                } else {
                    self.pace.refused(None, Instant::now());
                }
            }
            Outcome::Busy { retry_after } => self.refused(key, &line, retry_after),
            Outcome::Infeasible(_) if line.deadline.is_some() => self.refused(key, &line, None),
            Outcome::Late(_) if line.deadline.is_some_and(|deadline| line.begun.elapsed() >= deadline) => {}
            Outcome::Infeasible(answer) | Outcome::Late(answer) => self.answer(key, answer),
            Outcome::ShutDown => {}
        }
    }

    /// Notes that a line waits again because the node has other load.
    fn refused(&mut self, key: LineKey, line: &Running, retry_after: Option<Duration>) {
        self.pace.refused(retry_after, Instant::now());
        if line.deadline.is_some() {
            self.not_admitted.insert(key);
        }
    }

    fn answer(&mut self, key: LineKey, answer: Answer) {
        self.pace.ended(Instant::now());
        self.failures.remove(&key);
        self.not_admitted.remove(&key);
        self.answers.push((key, answer));
    }
}

/// The time until a batch's window passes.
fn left(expires_at: i64) -> Duration {
    let expires = UNIX_EPOCH + Duration::from_secs(expires_at.unsigned_abs());
    expires.duration_since(SystemTime::now()).unwrap_or_default()
}
