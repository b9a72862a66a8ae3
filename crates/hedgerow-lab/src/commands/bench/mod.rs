//! `hedgerow bench`: reproducible measurements.

pub(crate) mod files;
mod serve;
mod simulate;
mod solvers;

use clap::{Args, Subcommand};
use hedgerow_node::console::Console;

/// The arguments of `hedgerow bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time solvers on generated batching problems, on one core, and check their answers against each other
    Solvers(solvers::SolversArgs),
    /// Offer a workload to a server, or to two in turns, and count the requests answered by their deadlines
    Serve(Box<serve::ServeArgs>),
    /// Time the simulator on one core over the number of requests, and report its peak memory
    Simulate(simulate::SimulateArgs),
}

/// Runs the chosen benchmark.
pub fn run(args: &BenchArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    match &args.what {
        What::Solvers(args) => solvers::run(args, console),
        What::Serve(args) => serve::run(args, console),
        What::Simulate(args) => simulate::run(args, console),
    }
}
