//! `hedgerow explain`.

use anyhow::{Context as _, bail};
use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_workload::hint::hinted;
use serde_json::Value;

/// The arguments of `hedgerow explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The request: req-12 as in `x-request-id`, r12 as in the log, or 12
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
    let address = address(&args.url, &args.id);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.get(&address).call().map_err(|error| {
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

/// The URL of a server's status of a request. It is outside `/v1`, which client addresses end in.
fn address(url: &str, id: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let url = url.strip_suffix("/v1").unwrap_or(url).trim_end_matches('/');
    let scheme = if url.contains("://") { "" } else { "http://" };
    format!("{scheme}{url}/debug/requests/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_is_accepted_in_every_form_that_clients_use() {
        for url in
            ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/", "a:1", "a:1/v1", " http://a:1 "]
        {
            assert_eq!(address(url, "req-12"), "http://a:1/debug/requests/req-12", "{url}");
        }
        assert_eq!(address("https://a/hedgerow/v1", "12"), "https://a/hedgerow/debug/requests/12");
    }
}
