//! The command line: one file a verb.

mod arrivals;
pub(crate) mod bench;
mod check;
mod config;
mod demo;
mod evaluate;
mod explain;
mod figures;
mod instances;
mod kernel_check;
mod list;
#[cfg(feature = "milp")]
mod milp;
mod plan;
mod profile;
mod pull;
mod quantize;
mod replay;
mod scenario;
mod serve;
mod show;
mod simulate;
mod solve;
mod solver;
pub(crate) mod sweep;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// An LLM inference server for edge nodes that keeps its promises: each request says by when it needs
/// its answer and how good the answer must be.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve a model over HTTP, in time or not at all
    Serve(serve::ServeArgs),
    /// See deadlines kept: the same load under first-come-first-served and under the deadline-aware policy
    Demo(demo::DemoArgs),
    /// Measure how fast this machine runs a model, or show what was measured and saved
    Profile(profile::ProfileArgs),
    /// List the models here: what each precision takes, how fast it is and what it loses
    List(list::ListArgs),
    /// Show all that is known of a model, and where each number is from
    Show(show::ShowArgs),
    /// Get a model: the small default one, a Hugging Face repository's, or a file of your own
    Pull(pull::PullArgs),
    /// Store a model in fewer bits, by llama.cpp's own quantizer
    Quantize(quantize::QuantizeArgs),
    /// Measure what each precision of a model loses: perplexity, divergence, tokens that stay the same
    Evaluate(evaluate::EvaluateArgs),
    /// Find out how many users a node can serve in time, which precisions to hold for that, and what binds first
    Plan(Box<plan::PlanArgs>),
    /// Choose a batch for hedgerow-instance/1 files
    Solve(solve::SolveArgs),
    /// Check answers to a hedgerow-instance/1 file: every limit, the value, the bound and each other
    Check(check::CheckArgs),
    /// Draw hedgerow-instance/1 files to compare solvers on, reproducible from a seed
    Instances(instances::InstancesArgs),
    /// Measure: how long solvers take, and how many requests a server answers in time
    Bench(bench::BenchArgs),
    /// Write, check or show scenario files
    Scenario(scenario::ScenarioArgs),
    /// Play a scenario, or what a server recorded, in virtual time
    Simulate(simulate::SimulateArgs),
    /// Play many scenarios: a grid or list of changes, for several policies and seeds
    Sweep(sweep::SweepArgs),
    /// Draw the figures: the paper's, or those beyond it
    Figures(figures::FiguresArgs),
    /// Say why a server admitted, delayed or refused a request
    Explain(explain::ExplainArgs),
    /// Show the configuration in force and where each value comes from
    Config(config::ShowConfigArgs),
    /// Read a short text with some kernels and write what comes out: how hedgerow checks itself
    #[command(hide = true)]
    KernelCheck(kernel_check::KernelCheckArgs),
}

/// Reads the command line and runs its verb.
pub(crate) fn run() -> anyhow::Result<()> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let of_verb = matches.subcommand().map_or(&matches, |(_, of_verb): (&str, &ArgMatches)| of_verb);
    match cli.verb {
        Verb::Serve(args) => serve::run(&args, of_verb),
        Verb::Demo(args) => demo::run(&args, of_verb),
        Verb::Profile(args) => profile::run(&args, of_verb),
        Verb::List(args) => list::run(&args),
        Verb::Show(args) => show::run(&args),
        Verb::Pull(args) => pull::run(&args),
        Verb::Quantize(args) => quantize::run(&args),
        Verb::Evaluate(args) => evaluate::run(&args),
        Verb::Plan(args) => plan::run(&args, of_verb),
        Verb::Solve(args) => solve::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Instances(args) => instances::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Scenario(args) => scenario::run(&args),
        Verb::Simulate(args) => simulate::run(&args),
        Verb::Sweep(args) => sweep::run(&args),
        Verb::Figures(args) => figures::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Config(args) => config::run(&args, of_verb),
        Verb::KernelCheck(args) => kernel_check::run(&args),
    }
}
