//! `hedgerow batch`: files of requests that a server runs in the slack of its other load. A server with keys needs an
//! administrator's, in the variable `HEDGEROW_API_KEY`: other users of a machine see arguments.

mod client;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use hedgerow_node::console::Console;
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use client::Client;

/// How often a batch is asked for while waiting.
const POLL: Duration = Duration::from_millis(500);

/// The arguments of `hedgerow batch`.
#[derive(Args, Debug)]
pub struct BatchArgs {
    #[command(subcommand)]
    command: BatchCommand,
}

#[derive(Debug, Subcommand)]
enum BatchCommand {
    /// Upload a file of requests, one JSON object per line, and have a server run them
    Submit(SubmitArgs),
    /// Show how far a batch is, or list the latest ones
    Status(StatusArgs),
    /// Fetch the answers of a batch that has ended
    Fetch(FetchArgs),
    /// Cancel a batch; the answers that are there stay
    Cancel(CancelArgs),
}

/// Where the server is, and how the result is printed.
#[derive(Args, Debug)]
struct ServerArgs {
    /// The server, with or without /v1, as `hedgerow serve` prints it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8473", env = "HEDGEROW_URL")]
    url: String,
    /// Print one JSON object, as the API has it
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct SubmitArgs {
    /// The file: each line has custom_id, method (POST), url and body, as in OpenAI's Batch API
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The time within which all is to be done, in s, m or h, up to 168h; then the batch expires
    #[arg(long, value_name = "TIME", default_value = "24h")]
    window: String,
    /// The path that all lines are sent to, /v1/chat/completions or /v1/completions [default: the first line's url]
    #[arg(long, value_name = "PATH")]
    endpoint: Option<String>,
    /// Wait until the batch has ended; the exit code is 1 if not each line has an answer
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// The batch; without one, the latest batches
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct FetchArgs {
    /// The batch
    #[arg(value_name = "ID")]
    id: String,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fetch the errors: of lines that were refused, failed, or not run
    #[arg(long)]
    errors: bool,
    /// The server, with or without /v1, as `hedgerow serve` prints it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8473", env = "HEDGEROW_URL")]
    url: String,
    /// With --output: print one JSON object about the written file
    #[arg(long, requires = "output")]
    json: bool,
}

#[derive(Args, Debug)]
struct CancelArgs {
    /// The batch
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs a command on batches; returns whether each line has its answer, where that was waited for.
///
/// # Errors
///
/// When the server does not answer, or refuses; when a file cannot be read or written.
pub fn run(args: &BatchArgs, console: &mut Console<'_>) -> anyhow::Result<bool> {
    match &args.command {
        BatchCommand::Submit(args) => return submit(args, console),
        BatchCommand::Status(args) => status(args, console),
        BatchCommand::Fetch(args) => fetch(args, console),
        BatchCommand::Cancel(args) => {
            let batch =
                Client::of(&args.server.url).post(&format!("/v1/batches/{}/cancel", args.id), &json!({}))?;
            print(&batch, &args.server, console)
        }
    }?;
    Ok(true)
}

fn print(batch: &Value, args: &ServerArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    if args.json { console.print_line(format!("{batch:#}")) } else { console.print(report::of_batch(batch)) }
}

fn submit(args: &SubmitArgs, console: &mut Console<'_>) -> anyhow::Result<bool> {
    let client = Client::of(&args.server.url);
    let endpoint = match &args.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => client::endpoint_of(&args.file)?,
    };
    let file = client.upload(&args.file)?;
    let asked = json!({
        "input_file_id": file["id"], "endpoint": endpoint, "completion_window": args.window,
    });
    let mut batch = client.post("/v1/batches", &asked)?;
    if args.wait {
        let id = id_of(&batch)?;
        console
            .note(format!("waiting for {id}; it goes on without this command: `hedgerow batch status {id}`"));
        batch = wait(&client, id, console)?;
    }
    print(&batch, &args.server, console)?;
    let is_answered = batch["status"] == "completed" && batch["request_counts"]["failed"] == 0;
    Ok(!args.wait || is_answered)
}

fn id_of(batch: &Value) -> anyhow::Result<&str> {
    batch["id"].as_str().context("the server's answer has no id")
}

/// Waits until a batch has ended, also through restarts of the server.
fn wait(client: &Client, id: &str, console: &Console<'_>) -> anyhow::Result<Value> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("the template is ours");
    let bar = ProgressBar::new(0).with_style(style);
    let mut is_silent = false;
    loop {
        match client.get(&format!("/v1/batches/{id}")) {
            Ok(batch) => {
                is_silent = false;
                let counts = &batch["request_counts"];
                let count = |name: &str| counts[name].as_u64().unwrap_or(0);
                bar.set_length(count("total"));
                bar.set_position(count("completed") + count("failed"));
                bar.set_message(batch["status"].as_str().unwrap_or_default().to_owned());
                if report::has_ended(&batch) {
                    bar.finish_and_clear();
                    return Ok(batch);
                }
            }
            Err(error) if client::is_passing(&error) => {
                if !is_silent {
                    console.note(format!("{error}; waiting for it, the batch is stored"));
                }
                is_silent = true;
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(POLL);
    }
}

fn status(args: &StatusArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let client = Client::of(&args.server.url);
    if let Some(id) = &args.id {
        return print(&client.get(&format!("/v1/batches/{id}"))?, &args.server, console);
    }
    let list = client.get("/v1/batches?limit=100")?;
    if args.server.json {
        return console.print_line(format!("{list:#}"));
    }
    let batches = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    console.print(report::of_list(batches))
}

fn fetch(args: &FetchArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let client = Client::of(&args.url);
    let batch = client.get(&format!("/v1/batches/{}", args.id))?;
    if !report::has_ended(&batch) {
        return Err(hinted(
            format!("the batch is {}, so its files are not made yet", report::summary(&batch)),
            format!("wait, or cancel it: `hedgerow batch cancel {}`", args.id),
        ));
    }
    let (kind, other) = if args.errors { ("error", "output") } else { ("output", "error") };
    let Some(file) = batch[format!("{kind}_file_id")].as_str() else {
        if batch["status"] == "failed" {
            bail!("{}", report::of_batch(&batch).trim_end());
        }
        return Err(hinted(
            format!("the batch is {} and has no {kind} file", report::summary(&batch)),
            format!("all its results are in the {other} file{}", if args.errors { "" } else { ": --errors" }),
        ));
    };
    if batch[format!("{other}_file_id")].is_string() && !args.errors {
        console.note("some lines have errors: `--errors` fetches them");
    }
    let Some(path) = &args.output else {
        client.download(file, &mut *console.out)?;
        return Ok(());
    };
    let bytes = client.download_to(file, path)?;
    if args.json {
        return console.print_line(json!({ "batch": args.id, "file": path, "kind": kind, "bytes": bytes }));
    }
    console.note(format!("{bytes} bytes are in {}", path.display()));
    Ok(())
}
