//! `hedgerow figures`: reproduces the figures from the scenarios embedded in this program.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hedgerow_node::config::number;
use hedgerow_node::console::Console;
use hedgerow_node::terminal::fitting;

use super::sweep::jobs_or_all;
use crate::figures::{self, Chosen};

/// The arguments of `hedgerow figures`.
#[derive(Debug, Args)]
#[command(after_help = "Example: hedgerow figures paper --out out/paper\n\n\
                        docs/design/paper.md says what the figures show.")]
pub struct FiguresArgs {
    /// Which figures
    which: Which,
    /// Write report.html, and each figure as .svg, .png and .csv, into this folder
    #[arg(long, value_name = "FOLDER", default_value = "out/figures")]
    out: PathBuf,
    /// Draw only these figures, by the letters of their names, separated by commas: a,d
    #[arg(long, value_name = "LETTER", value_delimiter = ',')]
    only: Vec<char>,
    /// Simulate this many scenarios in parallel [default: the number of processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// A quick look: simulate this many seconds of virtual time instead of each figure's own, with one seed
    #[arg(long, value_name = "SECONDS", value_parser = number(1.0..=1e6))]
    quick: Option<f64>,
    /// Also time the solvers on this machine, into the folder `timings`; these results are not reproducible
    #[arg(long)]
    times: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The paper's: throughput over load, deadlines and quality, search effort, and which limit binds
    Paper,
    /// Beyond it: continuous batching, other channels, bursts, larger models, wrong parameters, memory speed
    Beyond,
}

/// Simulates the scenarios, draws the figures, and prints the files written and which claims hold.
///
/// # Errors
///
/// When a figure's name is unknown or a file cannot be written.
pub fn run(args: &FiguresArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let all = match args.which {
        Which::Paper => figures::PAPER,
        Which::Beyond => figures::BEYOND,
    };
    let chosen = Chosen { only: &args.only, quick_s: args.quick, jobs: jobs_or_all(args.jobs) };
    let made = figures::make(all, &chosen, &args.out)?;
    for path in made.written {
        console.print_line(path.display())?;
    }
    if let Some((table, verdict)) = made.holds {
        console.print(format!("\n{}\n{verdict}", fitting(&table)))?;
    }
    if args.times {
        for path in figures::times(&args.out.join("timings"))? {
            console.print_line(path.display())?;
        }
    }
    Ok(())
}
