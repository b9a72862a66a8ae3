//! `hedgerow scenario`: writes scenario files to start from, checks them, and shows them with everything filled in.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use hedgerow_node::console::Console;
use hedgerow_node::errors;
use hedgerow_node::files::write_whole;
use hedgerow_sim::{Scenario, ScenarioError, Section};
use hedgerow_workload::hint::hinted;
use serde_json::{Map, Value};

use super::instances::cannot_write;

/// The arguments of `hedgerow scenario`.
#[derive(Args, Debug)]
pub struct ScenarioArgs {
    #[command(subcommand)]
    command: ScenarioCommand,
}

#[derive(Debug, Subcommand)]
enum ScenarioCommand {
    /// Write a scenario file with every key, its unit and its meaning
    #[command(after_help = "Example:\n  hedgerow scenario new --kind city --out my-city.toml\n  \
                            hedgerow simulate my-city.toml")]
    New {
        /// Which one to start from.
        #[arg(long, value_enum, default_value_t = Kind::Continuous)]
        kind: Kind,
        /// Where to write it [default: standard output]. No file is overwritten.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check all the given scenario files, and report what is wrong
    Check {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show a scenario with everything filled in: defaults, tables, and what follows from them
    Show {
        /// The file.
        file: PathBuf,
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
}

/// The scenarios that come with the program.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// The paper's setting: epochs, arithmetic-only cost, padded prompts, the exhaustive search of the paper
    Paper,
    /// The same users under continuous batching: requests join and leave at any step
    Continuous,
    /// A street cell of 3GPP: three classes in bursts, walking users, CQI rates, a node that knows its
    /// channels only roughly
    City,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Paper => include_str!("../../../../scenarios/paper.toml"),
            Self::Continuous => include_str!("../../../../scenarios/continuous.toml"),
            Self::City => include_str!("../../../../scenarios/city.toml"),
        }
    }
}

/// Runs the chosen subcommand.
pub fn run(args: &ScenarioArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    match &args.command {
        ScenarioCommand::New { kind, out } => new(*kind, out.as_deref(), console),
        ScenarioCommand::Check { files } => check(files, console),
        ScenarioCommand::Show { file, json } => show(file, *json, console),
    }
}

fn new(kind: Kind, out: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<()> {
    let Some(path) = out else {
        return console.print(kind.text());
    };
    if path.exists() {
        let message = format!("{} is there already", path.display());
        return Err(hinted(message, "choose another file by `--out`, or remove it"));
    }
    write_whole(path, kind.text()).map_err(|error| cannot_write(path, &error))?;
    console.note(format!("wrote {}", path.display()));
    Ok(())
}

/// Reports for each file whether it can be simulated; the last mistake is returned, earlier ones are printed before.
fn check(files: &[PathBuf], console: &mut Console<'_>) -> anyhow::Result<()> {
    let mut mistake = None;
    for file in files {
        match Scenario::load(file) {
            Ok(scenario) => {
                console.print_line(format!("{}: {}", file.display(), in_a_line(&scenario)))?;
            }
            Err(error) => {
                if let Some(earlier) = mistake.replace(in_file(file, &error)) {
                    console.note(errors::describe(&earlier));
                }
            }
        }
    }
    mistake.map_or(Ok(()), Err)
}

fn in_a_line(scenario: &Scenario) -> String {
    let classes = match scenario.classes.len() {
        0 => String::new(),
        count => format!(", {count} classes"),
    };
    let Scenario { name, model, accelerators, users, settings, .. } = scenario;
    let plural = if *accelerators == 1 { "" } else { "s" };
    format!(
        "ok: {name}, {model} on {accelerators} accelerator{plural}, {} requests/s{classes}, {}",
        users.rate_per_s, settings.policy
    )
}

fn show(file: &Path, json: bool, console: &mut Console<'_>) -> anyhow::Result<()> {
    let scenario = Scenario::load(file).map_err(|error| in_file(file, &error))?;
    let sections = scenario.sections();
    if json {
        console.print_line(object(&sections))
    } else {
        let table = table(&sections).to_string();
        // Columns are padded with blanks, and sources are long.
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        console.print_line(lines.join("\n"))
    }
}

fn object(sections: &[Section]) -> Value {
    let values = |section: &Section| -> Map<String, Value> {
        section.values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    sections.iter().map(|section| (section.name.clone(), Value::Object(values(section)))).collect()
}

fn table(sections: &[Section]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for section in sections {
        for (index, (key, value)) in section.values.iter().enumerate() {
            let name = if index == 0 { section.name.as_str() } else { "" };
            table.add_row([name.to_owned(), (*key).to_owned(), in_words(value)]);
        }
    }
    table
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Object(values) => {
            let pairs = values.iter().map(|(key, value)| format!("{key} {}", in_words(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Adds the file to the error's message, unless it is there already.
fn in_file(file: &Path, error: &ScenarioError) -> anyhow::Error {
    if matches!(error, ScenarioError::Unreadable { .. }) {
        return hinted(error, error.hint());
    }
    hinted(format!("{}: {error}", file.display()), error.hint())
}
