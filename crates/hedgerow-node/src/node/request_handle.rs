//! The caller's handle to a submitted request.

use std::sync::mpsc;

use hedgerow_core::request::RequestId;
use tokio::sync::mpsc::UnboundedReceiver;

use super::driver::Command;
pub use super::driver::Update;
use super::failure::Failure;

/// Receives a request's updates. Dropping the handle before the end (client disconnect) cancels the request, whether
/// it is queued or running.
#[derive(Debug)]
pub struct RequestHandle {
    id: RequestId,
    updates: UnboundedReceiver<Update>,
    commands: mpsc::Sender<Command>,
    failure: Failure,
    has_ended: bool,
}

impl RequestHandle {
    pub(super) fn new(
        id: RequestId,
        updates: UnboundedReceiver<Update>,
        commands: mpsc::Sender<Command>,
        failure: Failure,
    ) -> Self {
        Self { id, updates, commands, failure, has_ended: false }
    }

    /// Whether the last update has been received.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next update; `None` after the last one or when the node has ended.
    pub async fn next(&mut self) -> Option<Update> {
        let update = tokio::select! {
            biased;
            update = self.updates.recv() => update,
            // An engine that is stuck keeps the sender of the updates.
            _ = self.failure.wait() => None,
        };
        self.has_ended |= matches!(update, None | Some(Update::Ended(_)));
        update
    }
}

impl Drop for RequestHandle {
    fn drop(&mut self) {
        if !self.has_ended {
            // If the driver has ended, the request has ended too.
            let _ = self.commands.send(Command::Cancel(self.id));
        }
    }
}
