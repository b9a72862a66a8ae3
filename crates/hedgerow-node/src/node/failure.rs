//! The death of a thread of the node: noticed, reported, and final.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::watch;

/// Why a node cannot serve any more. Set at most once; a failed node ends every request and takes no new one.
#[derive(Clone, Debug)]
pub(super) struct Failure(watch::Sender<Option<Arc<str>>>);

impl Failure {
    /// A node that has not failed.
    pub(super) fn none() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Reports a failure; the first one is kept.
    pub(super) fn set(&self, reason: impl Into<Arc<str>>) {
        let reason = reason.into();
        tracing::error!("the node cannot go on: {reason}");
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(reason);
            is_first
        });
    }

    /// The reason, if the node has failed.
    pub(super) fn get(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Waits until the node fails, and returns the reason.
    pub(super) async fn wait(&self) -> Arc<str> {
        let mut reasons = self.0.subscribe();
        let reason = reasons.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.expect("this sender is not dropped while it waits, and the awaited value is there")
    }

    /// Runs a thread's work; a panic is a failure of the node.
    pub(super) fn watch(&self, thread: &str, work: impl FnOnce()) {
        // What the work has left behind is not used again: the node ends.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.set(format!("the {thread} thread panicked: {}", message(panic.as_ref())));
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_panic_is_a_failure_and_the_first_failure_is_kept() {
        let failure = Failure::none();
        failure.watch("driver", || {});
        assert_eq!(failure.get(), None);
        assert_eq!(failure.wait().now_or_never(), None);
        failure.watch("engine", || panic!("no {}", "memory"));
        failure.set("something later");
        assert_eq!(failure.get().as_deref(), Some("the engine thread panicked: no memory"));
        assert_eq!(failure.wait().now_or_never().as_deref(), Some("the engine thread panicked: no memory"));
    }
}
