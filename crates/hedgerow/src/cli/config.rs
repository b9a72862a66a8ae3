//! `hedgerow config`: prints the configuration in force and the source of each value.

use clap::{ArgMatches, Args};
use hedgerow_node::config::{self, ConfigArgs};
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
pub(crate) fn run(args: &ShowConfigArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let layered = config::load(matches, args.config.common.config.as_deref())?;
    if args.json {
        let keys: serde_json::Map<_, _> = layered
            .values
            .iter()
            .map(|((section, key), (value, source))| {
                (format!("{section}.{key}"), json!({ "value": value, "source": source }))
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&keys)?);
        return Ok(());
    }
    let mut last_section = "";
    for ((section, key), (value, source)) in &layered.values {
        if section != last_section {
            println!("{}[{section}]", if last_section.is_empty() { "" } else { "\n" });
            last_section = section;
        }
        println!("{:<40} # {source}", format!("{key} = {value}"));
    }
    Ok(())
}
