//! `hedgerow explain`.

use anyhow::{Context as _, bail};
use clap::Args;
use hedgerow_loadgen::server_root;
use hedgerow_node::console::Console;
use hedgerow_workload::hint::hinted;
use serde_json::Value;

/// The arguments of `hedgerow explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The request: the `x-request-id` that it was sent with, or that of its response
    #[arg(value_name = "ID")]
    id: String,
    /// The server, with or without /v1, as `hedgerow serve` prints it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8473", env = "HEDGEROW_URL")]
    url: String,
    /// Print the numbers as JSON
    #[arg(long)]
    json: bool,
}

/// Queries a server about one of its requests and prints the answer.
pub(crate) fn run(args: &ExplainArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let address = format!("{}/debug/requests/{}", server_root(&args.url), args.id);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(&address);
    if let Ok(key) = std::env::var("HEDGEROW_API_KEY") {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let mut response = request.call().map_err(|error| {
        hinted(
            format!("no server answers at {}: {error}", args.url),
            "name the server by --url, as `hedgerow serve` prints it, such as --url http://127.0.0.1:8473; or by \
             HEDGEROW_URL",
        )
    })?;
    let text = response.body_mut().read_to_string().with_context(|| format!("reading {address}"))?;
    let answer: Value = serde_json::from_str(&text).map_err(|_| {
        hinted(
            format!("{} does not answer as hedgerow does", args.url),
            "name a hedgerow server by --url, as `hedgerow serve` prints it",
        )
    })?;
    if let Some(message) = answer["error"]["message"].as_str() {
        bail!("{message}");
    }
    if args.json {
        console.print_line(format!("{answer:#}"))
    } else {
        console.print_line(answer["text"].as_str().context("the answer has no text")?)
    }
}
