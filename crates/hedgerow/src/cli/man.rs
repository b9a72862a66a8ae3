//! `hedgerow man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use hedgerow_node::console::Console;

use super::Cli;

/// The arguments of `hedgerow man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write the page of each command to this folder, as hedgerow.1, hedgerow-serve.1, ...; without it, print
    /// hedgerow.1
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the program's manual page, or writes the pages of all its commands.
pub(crate) fn run(args: &ManArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let Some(folder) = &args.out else {
        let page = clap_mangen::Man::new(Cli::command());
        return page.render(&mut console.out).context("writing to standard output");
    };
    let write = || {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Cli::command(), folder)
    };
    write().with_context(|| format!("writing manual pages to {}", folder.display()))
}
