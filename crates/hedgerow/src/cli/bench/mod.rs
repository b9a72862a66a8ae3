//! `hedgerow bench`: measures, reproducibly.

pub(in crate::cli) mod files;
mod serve;
mod simulate;
mod solvers;
pub(crate) mod style;

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
    /// Offer a load to a server, or to two in turns, and count who was answered by the deadline
    Serve(Box<serve::ServeArgs>),
    /// Time the simulator on one core, over how many requests it plays, and say what it keeps in memory
    Simulate(simulate::SimulateArgs),
}

/// Measures what is asked for.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.what {
        What::Solvers(args) => solvers::run(args),
        What::Serve(args) => serve::run(args),
        What::Simulate(args) => simulate::run(args),
    }
}
