//! `hedgerow completions`.

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use hedgerow_node::console::Console;

use super::Cli;

/// The arguments of `hedgerow completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell to write the script for
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the shell's completion script for `hedgerow`.
pub(crate) fn run(args: &CompletionsArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hedgerow", &mut script);
    console.out.write_all(&script).context("writing to standard output")
}
