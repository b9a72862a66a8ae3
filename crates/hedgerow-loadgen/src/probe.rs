//! Probes whether a server can be measured, before the workload is offered.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hedgerow_workload::hint::hinted;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use hyper::http::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::client::{ERROR_BYTES_MAX, Until, error_text};
use super::outcome::Ending;
use super::{Client, Request};

/// The timeout for loading a model, and for two tokens.
const PATIENCE: Duration = Duration::from_secs(120);
/// The timeout for the list of models.
const LIST_PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes read of the list of models.
const LIST_BYTES_MAX: usize = 16 * ERROR_BYTES_MAX;

impl Client {
    /// Returns the first model that the server lists; waits while it reports that it is not ready.
    pub(super) async fn first_model(&self, notes: &dyn Fn(&str)) -> anyhow::Result<String> {
        let began = Instant::now();
        let mut is_reported = false;
        loop {
            let listed = timeout(LIST_PATIENCE, self.list_models()).await;
            let (status, body) = listed.context("no answer")??;
            let is_loading = status == StatusCode::SERVICE_UNAVAILABLE && began.elapsed() < PATIENCE;
            if !is_loading {
                return model_of(status, &body);
            }
            if !is_reported {
                notes(&format!("waiting for {}: {}", self.authority(), error_text(&body)));
                is_reported = true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn list_models(&self) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut connection = JoinSet::new();
        let response = self.send(&mut connection, Method::GET, "/v1/models", &[], String::new()).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LIST_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| anyhow::anyhow!("/v1/models: {error}"))?.to_bytes()))
    }

    /// Warms the server up with a request for two tokens; `notes` receives a line if it does not count tokens.
    ///
    /// # Errors
    ///
    /// When there is no answer; the error says what to do about it.
    pub async fn probe(&self, notes: &dyn Fn(&str)) -> anyhow::Result<()> {
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
                notes(&format!(
                    "{server} does not count tokens (`stream_options.include_usage`): pieces of text are counted"
                ));
                Ok(())
            }
            (_, Ending::Complete) => Ok(()),
            (Some(404), Ending::Failed(why)) => wrong(
                format!("answers /v1/chat/completions with {why}"),
                "check what stands before /v1 in the URL, and the name given by --model",
            ),
            (Some(401 | 403), Ending::Failed(why)) => {
                wrong(format!("requires a key: {why}"), "start it without a key for the measurement")
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

fn model_of(status: StatusCode, body: &[u8]) -> anyhow::Result<String> {
    if !status.is_success() {
        bail!("/v1/models answered {status}: {}", error_text(body));
    }
    let list: Value = serde_json::from_slice(body).context("/v1/models did not answer with JSON")?;
    let id = list["data"][0]["id"].as_str().context("/v1/models names no model")?;
    Ok(id.to_owned())
}
