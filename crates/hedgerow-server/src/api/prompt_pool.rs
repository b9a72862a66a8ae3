//! The threads that parse large bodies, apply chat templates and tokenize prompts.
//!
//! Such work takes milliseconds, during which a connection thread, which runs before the engine, could not send tokens of
//! other answers. The pool has few threads of ordinary priority, with stacks as large as a main thread's, because
//! templates and tokenizers recurse. Small work is done in place, because a thread of ordinary priority waits for the
//! engine's, and a refusal would wait with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow_core::engine::TokenId;
use tokio::sync::oneshot;

use super::prompt::Prompt;
use super::{ApiError, App};

const THREADS: usize = 2;
const STACK_BYTES: usize = 8 << 20;
/// The longest prompt that is tokenized in place: less than a millisecond's work.
const IN_PLACE_BYTES: usize = 2048;

/// Sends work to the threads. What waits is bounded by `limits.waiting_mib`.
pub(super) struct PromptPool(Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl PromptPool {
    /// Starts the threads, which end when the pool is dropped. They inherit the priority of the calling thread.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..THREADS {
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name("prompts".into()).stack_size(STACK_BYTES);
            thread.spawn(move || run(&jobs))?;
        }
        Ok(Self(sender))
    }

    /// Runs work on one of the threads. It is not begun if this call is dropped before.
    ///
    /// # Errors
    ///
    /// Those of the work; an internal error if it panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            // Its caller may have hung up meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        };
        // If no thread is left, the answer's sender is dropped with the job.
        let _ = self.0.send(Box::new(job));
        answered.await.unwrap_or_else(|_| Err(ApiError::internal("the request could not be read")))
    }

    /// Turns a prompt into tokens of the served model.
    ///
    /// # Errors
    ///
    /// When the prompt cannot fit the context, or the model's template or vocabulary rejects it.
    pub(super) async fn tokenize(&self, app: &App, prompt: Prompt) -> Result<Vec<TokenId>, ApiError> {
        let served = app.loaded()?;
        prompt.refuse_beyond(served)?;
        if prompt.bytes() <= IN_PLACE_BYTES {
            return prompt.tokenize(served);
        }
        let app = app.clone();
        self.run(move || prompt.tokenize(app.loaded()?)).await
    }
}

fn run(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic must not cost the pool a thread; the caller gets an internal error, because the sender is dropped.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}
