//! The thread that uses the store.
//!
//! The store waits for the disk, and checking a large input takes a second. Both would hold up the tokens of other
//! answers on a connection thread, which runs before the engine. So the store has one thread of ordinary priority, to
//! which calls are sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};

use hedgerow_batch::{Store, StoreError, UploadId};
use tokio::sync::oneshot;

use super::failure::Failure;

type Job = Box<dyn FnOnce(&mut Store) + Send>;

/// Sends calls to the store's thread, which ends when the last of these is dropped.
#[derive(Clone)]
pub(super) struct StoreThread(Sender<Job>);

impl StoreThread {
    /// Starts the thread. It inherits the priority of the calling thread.
    pub(super) fn start(store: Store) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        std::thread::Builder::new().name("batches".into()).spawn(move || run(store, &jobs))?;
        Ok(Self(sender))
    }

    /// Calls the store and waits for the result. The call is made even if the waiting is given up.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, result) = oneshot::channel();
        // A caller that has hung up does not need the result.
        let job = Box::new(move |store: &mut Store| drop(answer.send(call(store))));
        // If the thread has ended, the job is dropped, and the answer's sender with it.
        let _ = self.0.send(job);
        Ok(result.await.map_err(|_| Failure::NoStore)??)
    }

    /// Removes what was uploaded of a file, without waiting for it.
    pub(super) fn drop_upload(&self, upload: UploadId) {
        let job = Box::new(move |store: &mut Store| {
            if let Err(error) = store.drop_upload(upload) {
                tracing::warn!("an interrupted upload stays until the next start: {error}");
            }
        });
        let _ = self.0.send(job);
    }
}

fn run(mut store: Store, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        // An open transaction is rolled back when it is dropped, so the store is whole after a panic.
        if catch_unwind(AssertUnwindSafe(|| job(&mut store))).is_err() {
            tracing::error!("a call of the batch store panicked");
        }
    }
}
