//! `hedgerow explain`.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

/// What `hedgerow explain` takes.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The request: req-12 as in `x-request-id`, r12 as in the log, or 12
    #[arg(value_name = "ID")]
    id: String,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8473", env = "HEDGEROW_URL")]
    url: String,
    /// Print the numbers as JSON
    #[arg(long)]
    json: bool,
}

/// Asks a server about one of its requests and prints what it says.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let address = format!("{}/debug/requests/{}", args.url.trim_end_matches('/'), args.id);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.get(&address).call().with_context(|| format!("asking {address}"))?;
    let text = response.body_mut().read_to_string().with_context(|| format!("reading {address}"))?;
    let answer: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} does not answer as hedgerow does", args.url))?;
    if let Some(message) = answer["error"]["message"].as_str() {
        bail!("{message}");
    }
    if args.json {
        println!("{answer:#}");
    } else {
        println!("{}", answer["text"].as_str().context("the answer has no text")?);
    }
    Ok(())
}
