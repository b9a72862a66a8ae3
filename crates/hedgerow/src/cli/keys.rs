//! `hedgerow keys`: makes and lists API keys.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use hedgerow_node::config::number;
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_server::{KeyEntry, new_key, read_keys};
use hedgerow_workload::hint::hinted;
use serde_json::json;

/// The arguments of `hedgerow keys`.
#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key, add its hash and limits to the keys file, and print the key: it is not stored anywhere
    Add(AddArgs),
    /// List the keys of the file and their limits
    List(ListArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    /// The key's name in the log and in metrics
    name: String,
    /// The keys file; it is made if it is not there
    #[arg(long, value_name = "FILE", env = "HEDGEROW_KEYS_FILE")]
    file: PathBuf,
    /// May use the endpoints for operators
    #[arg(long)]
    admin: bool,
    /// Its weight when there is not enough for all keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: u32,
    /// Requests per second, on average
    #[arg(long, value_name = "RATE", value_parser = number(0.001..=1e6))]
    requests_per_s: Option<f64>,
    /// Requests at once beyond that rate [default: a second's]
    #[arg(long, value_name = "N", value_parser = number(1.0..=1e6))]
    burst: Option<f64>,
    /// Requests that wait or run at once [default: half of the queue]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    concurrency: Option<u32>,
    /// Tokens per hour, of prompts and answers
    #[arg(long, value_name = "TOKENS", value_parser = number(1.0..=1e12))]
    tokens_per_hour: Option<f64>,
    /// The most value of a request
    #[arg(long, value_name = "VALUE", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    value_max: u32,
    /// The shortest deadline, in ms
    #[arg(long, value_name = "MS", value_parser = number(1.0..=86_400_000.0))]
    deadline_ms_min: Option<f64>,
    /// The longest deadline, in ms
    #[arg(long, value_name = "MS", value_parser = number(1.0..=86_400_000.0))]
    deadline_ms_max: Option<f64>,
    /// The deadline of requests that have none, in ms
    #[arg(long, value_name = "MS", value_parser = number(1.0..=86_400_000.0))]
    default_deadline_ms: Option<f64>,
    /// The quality floor of requests that have none, 0 to 1
    #[arg(long, value_name = "QUALITY", value_parser = number(0.0..=1.0))]
    default_min_quality: Option<f64>,
    /// A model that it may use; may be repeated. Else all
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// The keys file
    #[arg(long, value_name = "FILE", env = "HEDGEROW_KEYS_FILE")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes or lists keys.
pub(crate) fn run(args: &KeysArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    match &args.command {
        KeysCommand::Add(args) => add(args, console),
        KeysCommand::List(args) => list(args, console),
    }
}

fn add(args: &AddArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let before = if args.file.exists() { fs::read_to_string(&args.file)? } else { String::new() };
    if args.file.exists() && read_keys(&args.file)?.iter().any(|entry| entry.name == args.name) {
        return Err(hinted(
            format!("{} has a key `{}` already", args.file.display(), args.name),
            "give another name, or delete its entry",
        ));
    }
    let secret = new_key();
    let entry = KeyEntry {
        admin: args.admin,
        weight: args.weight,
        requests_per_s: args.requests_per_s,
        burst: args.burst,
        concurrency: args.concurrency,
        tokens_per_hour: args.tokens_per_hour,
        value_max: args.value_max,
        deadline_ms_min: args.deadline_ms_min,
        deadline_ms_max: args.deadline_ms_max,
        default_deadline_ms: args.default_deadline_ms,
        default_min_quality: args.default_min_quality,
        models: args.models.clone(),
        ..KeyEntry::new(&args.name, &secret)
    };
    // The rest of the file stays as it is, comments included.
    let separator = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let text = format!("{before}{separator}\n[[key]]\n{}", toml::to_string(&entry)?);
    write_whole(&args.file, text.trim_start_matches('\n'))
        .with_context(|| format!("writing {}", args.file.display()))?;
    if args.json {
        return console.print_line(json!({ "name": args.name, "key": secret, "file": args.file }));
    }
    console.note(format!(
        "the key `{}` is in {}; a running server reads the file at SIGHUP. The key itself, which is shown only now:",
        args.name,
        args.file.display()
    ));
    console.print_line(secret)
}

fn list(args: &ListArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let entries = read_keys(&args.file)?;
    if args.json {
        return console.print_line(serde_json::to_string_pretty(&json!({ "keys": entries }))?);
    }
    for entry in entries {
        let mut limits = toml::Table::try_from(&entry)?;
        for hidden in ["name", "sha256"] {
            limits.remove(hidden);
        }
        let limits: Vec<String> = limits.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        console.print_line(format!("{}: {}", entry.name, limits.join(", ")))?;
    }
    Ok(())
}
