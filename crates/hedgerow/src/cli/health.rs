//! `hedgerow health`: the health check for containers and scripts that have no other HTTP client.

use std::time::Duration;

use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_workload::hint::hinted;

/// The arguments of `hedgerow health`.
#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8473", env = "HEDGEROW_URL")]
    url: String,
}

/// A server that does not answer within this time counts as unhealthy.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Succeeds if the server serves requests; fails while it loads, shuts down or does not answer.
pub(crate) fn run(args: &HealthArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let address = format!("{}/health", args.url.trim_end_matches('/'));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let response = agent.get(&address).call().map_err(|error| {
        hinted(format!("{address} does not answer: {error}"), "start `hedgerow serve`, or name another --url")
    })?;
    let status = response.status();
    if !status.is_success() {
        return Err(hinted(
            format!("{address} answers {status}"),
            "wait: the server answers 503 while it loads a model and while it shuts down",
        ));
    }
    console.print_line("ok")
}
