//! The threads that apply chat templates and tokenize prompts.
//!
//! Long prompts take milliseconds to tokenize, during which a connection thread, which runs before the engine, could
//! not send tokens of other answers. The pool has few threads of ordinary priority, with stacks as large as a main
//! thread's, because templates and tokenizers recurse. A short prompt is tokenized in place, because a thread of
//! ordinary priority waits for the engine's, and a refusal would wait with it.

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

/// Sends long prompts to the threads. Each waiting prompt has a place in the request queue, so their number is limited.
pub(super) struct PromptPool(Sender<Job>);

struct Job {
    app: App,
    prompt: Prompt,
    answer: oneshot::Sender<Result<Vec<TokenId>, ApiError>>,
}

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

    /// Turns a prompt into tokens of the served model.
    ///
    /// # Errors
    ///
    /// When the model's template or vocabulary rejects it.
    pub(super) async fn tokenize(&self, app: &App, prompt: Prompt) -> Result<Vec<TokenId>, ApiError> {
        if prompt.bytes() <= IN_PLACE_BYTES {
            return prompt.tokenize(app.loaded()?);
        }
        let (answer, tokens) = oneshot::channel();
        // If no thread is left, the answer's sender is dropped with the job.
        let _ = self.0.send(Job { app: app.clone(), prompt, answer });
        tokens.await.unwrap_or_else(|_| Err(ApiError::internal("the prompt could not be tokenized")))
    }
}

fn run(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { app, prompt, answer }) = job else { return };
        // Its caller may have hung up meanwhile.
        if answer.is_closed() {
            continue;
        }
        // A panic must not cost the pool a thread; the caller gets an internal error.
        let tokens = catch_unwind(AssertUnwindSafe(|| prompt.tokenize(app.loaded()?)));
        if let Ok(tokens) = tokens {
            let _ = answer.send(tokens);
        }
    }
}
