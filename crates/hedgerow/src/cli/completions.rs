//! `hedgerow completions`.

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// What `hedgerow completions` takes.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell that will read the script
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script that teaches a shell to complete `hedgerow`.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hedgerow", &mut script);
    std::io::stdout().write_all(&script).context("writing to standard output")
}
