//! A caller's hold on its request.

use std::sync::mpsc;

use hedgerow_core::request::RequestId;
use tokio::sync::mpsc::UnboundedReceiver;

use super::driver::Command;
pub(crate) use super::driver::Update;

/// Tells a request's story; dropping it before the end cancels the request, wherever it is.
#[derive(Debug)]
pub(crate) struct RequestHandle {
    id: RequestId,
    story: UnboundedReceiver<Update>,
    commands: mpsc::Sender<Command>,
    has_ended: bool,
}

impl RequestHandle {
    pub(super) fn new(
        id: RequestId,
        story: UnboundedReceiver<Update>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self { id, story, commands, has_ended: false }
    }

    /// Whether the whole story has been told.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next part of the story; `None` when the node is gone or the story has been told.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        let update = self.story.recv().await;
        self.has_ended |= matches!(update, None | Some(Update::Ended(_)));
        update
    }
}

impl Drop for RequestHandle {
    fn drop(&mut self) {
        if !self.has_ended {
            // If the driver is gone, so is the request.
            let _ = self.commands.send(Command::Cancel(self.id));
        }
    }
}
