//! `hedgerow config`: prints the configuration in force and the source of each value.

use clap::{ArgMatches, Args};
use hedgerow_node::config::{self, ConfigArgs};
use hedgerow_node::console::Console;
use serde_json::json;

/// The arguments of `hedgerow config`: the same flags as `serve`.
#[derive(Args, Debug)]
pub(crate) struct ShowConfigArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Prints every key with its value and the value's source.
pub(crate) fn run(
    args: &ShowConfigArgs,
    matches: &ArgMatches,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let layered = config::load(matches, args.config.common.config.as_deref())?;
    if args.json {
        let keys: serde_json::Map<_, _> = layered
            .values
            .iter()
            .map(|((section, key), (value, source))| {
                (format!("{section}.{key}"), json!({ "value": value, "source": source }))
            })
            .collect();
        return console.print_line(serde_json::to_string_pretty(&keys)?);
    }
    let mut last_section = "";
    for ((section, key), (value, source)) in &layered.values {
        if section != last_section {
            console.print_line(format!("{}[{section}]", if last_section.is_empty() { "" } else { "\n" }))?;
            last_section = section;
        }
        console.print_line(format!("{:<40} # {source}", format!("{key} = {value}")))?;
    }
    Ok(())
}
