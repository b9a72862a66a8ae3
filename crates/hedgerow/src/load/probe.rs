//! Whether a server can be measured at all, asked before the load is offered.

use std::time::Duration;

use tokio::time::Instant;

use super::client::Until;
use super::outcome::Ending;
use super::{Client, Request};
use crate::hint::hinted;

/// A server that takes longer for two tokens is not measured.
const PATIENCE: Duration = Duration::from_secs(120);

impl Client {
    /// Asks for two tokens. What the first request of all costs a server is then spent.
    ///
    /// # Errors
    ///
    /// When there is no answer, with what to do about it.
    pub(crate) async fn probe(&self) -> anyhow::Result<()> {
        let request = Request {
            at: Duration::ZERO,
            class: 0,
            system: None,
            prompt: "Say yes.".to_owned(),
            prompt_tokens: 3,
            output_tokens: 2,
            deadline: None,
            min_quality: None,
        };
        let sent = Instant::now();
        let until = Until { at: sent + PATIENCE, ending: &Ending::Unfinished };
        let heard = self.ask(&request, sent, until).await;
        let server = self.authority();
        let wrong = |what: String, hint: &str| Err(hinted(format!("{server} {what}"), hint));
        match (heard.status, heard.ending) {
            (_, Ending::Complete) if heard.output_tokens.is_none() => {
                eprintln!(
                    "{server} does not count tokens (`stream_options.include_usage`): pieces of text are counted"
                );
                Ok(())
            }
            (_, Ending::Complete) => Ok(()),
            (Some(404), Ending::Failed(why)) => wrong(
                format!("answers /v1/chat/completions with {why}"),
                "check what stands before /v1 in the URL, and the name given by --model",
            ),
            (Some(401 | 403), Ending::Failed(why)) => {
                wrong(format!("lets nobody in: {why}"), "start it without a key for the measurement")
            }
            (_, Ending::Failed(why)) => {
                wrong(format!("cannot be measured: {why}"), "try it by hand, and see its log")
            }
            (status, Ending::Refused) => wrong(
                format!("is not ready: HTTP {}", status.unwrap_or_default()),
                "wait until its model is loaded",
            ),
            (_, Ending::Cut | Ending::HungUp | Ending::Unfinished) => wrong(
                format!("did not answer two tokens within {} s", PATIENCE.as_secs()),
                "see whether it is busy with something else",
            ),
        }
    }
}
