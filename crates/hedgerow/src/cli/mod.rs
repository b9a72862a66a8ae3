//! The command line: one file a command.

mod arrivals;
pub(crate) mod bench;
mod check;
pub(crate) mod columns;
mod completions;
mod config;
mod demo;
mod devices;
mod doctor;
mod evaluate;
mod explain;
mod figures;
mod health;
mod instances;
mod kernel_check;
mod list;
mod lists;
mod man;
#[cfg(feature = "milp")]
mod milp;
mod numbers;
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

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    /// Look for what stands in the way of serving on this machine: one line for each check, with the way out
    Doctor(Box<doctor::DoctorArgs>),
    /// Ask a server whether it serves: for health checks, by its exit code
    Health(health::HealthArgs),
    /// Show the configuration in force and where each value comes from
    Config(config::ShowConfigArgs),
    /// Print the script that lets a shell complete commands, options and values
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(man::ManArgs),
    /// Read a short text with some kernels and write what comes out: how hedgerow checks itself
    #[command(hide = true)]
    KernelCheck(kernel_check::KernelCheckArgs),
}

/// Flags of llama-server with one dash and several letters, which would be read as several flags, and their long forms.
const ONE_DASH: [(&str, &str); 3] = [("-ngl", "--gpu-layers"), ("-dev", "--device"), ("-np", "--parallel")];

fn with_long_flags(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_past_flags = false;
    let long = |word: OsString| {
        is_past_flags |= word == "--";
        let known = ONE_DASH.iter().find(|(short, _)| !is_past_flags && word == *short);
        known.map_or(word, |(_, long)| (*long).into())
    };
    words.map(long).collect()
}

/// Help is wrapped to the terminal's width, but no line is longer than this.
const HELP_WIDTH_MAX: usize = 100;

/// What the command line may be, with what holds of the flags of every command.
fn command() -> Command {
    everywhere(Cli::command().max_term_width(HELP_WIDTH_MAX))
}

/// A negative number after a flag is its value: a range may refuse it, and says so.
fn everywhere(command: Command) -> Command {
    let takes_a_value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_positional();
    command
        .mut_args(|arg| if takes_a_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(everywhere)
}

/// Reads the command line and runs its verb.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let command = command();
    let words = lists::spread(with_long_flags(std::env::args_os()).into_iter(), &command);
    let matches = command.get_matches_from(words);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let of_verb = matches.subcommand().map_or(&matches, |(_, of_verb): (&str, &ArgMatches)| of_verb);
    match cli.verb {
        Verb::Doctor(args) => return doctor::run(&args, of_verb),
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
        Verb::Health(args) => health::run(&args),
        Verb::Config(args) => config::run(&args, of_verb),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::KernelCheck(args) => kernel_check::run(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    /// Every flag of every command, with the way to it.
    fn flags(command: &Command, way: &[String], found: &mut Vec<(Vec<String>, Arg)>) {
        found.extend(command.get_arguments().map(|arg| (way.to_vec(), arg.clone())));
        for inner in command.get_subcommands() {
            flags(inner, &[way, &[inner.get_name().to_owned()]].concat(), found);
        }
    }

    /// Whether a flag's parser takes a value; what else is missing on the line does not matter.
    fn takes(way: &[String], flag: &str, value: &str) -> bool {
        let mut words = way.to_vec();
        words.push(format!("--{flag}={value}"));
        match command().try_get_matches_from(words) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::ValueValidation,
        }
    }

    #[test]
    fn every_number_on_the_command_line_has_a_range() {
        let mut all = Vec::new();
        flags(&command(), &["hedgerow".to_owned()], &mut all);
        let mut numbers = 0;
        for (way, arg) in &all {
            let Some(flag) = arg.get_long().filter(|_| arg.get_action().takes_values()) else { continue };
            // Flags that are checked with the file's and the environment's values take any text here.
            if !takes(way, flag, "1") || takes(way, flag, "no number") {
                continue;
            }
            numbers += 1;
            for wrong in ["nan", "inf", "-inf", "1e308", "1e300s", "-1", "99999999999999999999999"] {
                assert!(!takes(way, flag, wrong), "{way:?} --{flag} {wrong}");
            }
        }
        assert!(numbers > 30, "{numbers} numbers");
    }

    #[test]
    fn every_list_takes_commas_and_repeats() {
        let mut all = Vec::new();
        flags(&command(), &["hedgerow".to_owned()], &mut all);
        for (way, arg) in all.iter().filter(|(_, arg)| lists::is_list(arg)) {
            assert!(matches!(arg.get_action(), clap::ArgAction::Append), "{way:?} --{}", arg.get_id());
        }
    }

    #[test]
    fn flags_of_llama_server_with_one_dash_are_understood() {
        let long = |line: &str| {
            let words = with_long_flags(line.split(' ').map(OsString::from));
            words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            long("hedgerow serve -ngl 99 -dev CUDA0"),
            "hedgerow serve --gpu-layers 99 --device CUDA0"
        );
        assert_eq!(long("hedgerow serve -np 4 -n 3"), "hedgerow serve --parallel 4 -n 3");
        assert_eq!(long("hedgerow x -- -ngl"), "hedgerow x -- -ngl");
    }
}
