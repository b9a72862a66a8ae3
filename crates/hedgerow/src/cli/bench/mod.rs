//! `hedgerow bench`: measures, reproducibly.

mod solvers;

use clap::{Args, Subcommand};

/// What `hedgerow bench` takes.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time solvers on families of batching problems, one core, and hold their answers against each other
    Solvers(solvers::SolversArgs),
}

/// Measures what is asked for.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.what {
        What::Solvers(args) => solvers::run(args),
    }
}
