//! `hedgerow doctor`.

use clap::{ArgMatches, Args};
use hedgerow_node::config::{self, ConfigArgs, LogConfig, LogFormat};
use hedgerow_node::console::Console;
use hedgerow_node::doctor::{self, Finding, State};
use serde_json::json;

use super::exit_status::ExitStatus;

/// The arguments of `hedgerow doctor`: the flags of `serve`, because they decide what is needed.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// The model to check: as `hedgerow serve` takes it
    #[arg(value_name = "MODEL", env = "HEDGEROW_MODEL")]
    model: Option<String>,
    /// Read all of each model file and compare its checksum
    #[arg(long)]
    verify: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Prints one line for each check; the exit code is 1 if any of them is an error.
pub(crate) fn run(
    args: &DoctorArgs,
    matches: &ArgMatches,
    console: &mut Console<'_>,
) -> anyhow::Result<ExitStatus> {
    let _logging =
        hedgerow_node::logging::start(&LogConfig { filter: "off".into(), format: LogFormat::Text })?;
    let file = args.config.common.config.as_deref();
    let config = config::load(matches, file).map(|layered| (layered.config, layered.file));
    let findings = doctor::examine(config, args.verify);
    let text = if args.json { as_json(&findings)? } else { as_lines(&findings) };
    console.print(text)?;
    let has_error = findings.iter().any(|finding| finding.state == State::Error);
    Ok(ExitStatus::of(!has_error))
}

fn as_lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, state, found, way_out } in findings {
        text.push_str(&format!("{:<8} {check}: {found}", state.name()));
        if let Some(way_out) = way_out {
            text.push_str(&format!(" -> {way_out}"));
        }
        text.push('\n');
    }
    text
}

fn as_json(findings: &[Finding]) -> anyhow::Result<String> {
    let count = |state: State| findings.iter().filter(|finding| finding.state == state).count();
    let object = json!({
        "checks": findings,
        "errors": count(State::Error),
        "warnings": count(State::Warning),
    });
    Ok(serde_json::to_string_pretty(&object)? + "\n")
}
