//! The command line: one file for each command.

mod completions;
mod config;
mod demo;
mod devices;
mod doctor;
mod exit_status;
mod explain;
mod health;
mod keys;
mod lists;
mod man;
mod pull;
#[cfg(all(test, feature = "lab", not(feature = "milp")))]
mod reference;
mod serve;

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use hedgerow_node::console::Console;

pub(crate) use self::exit_status::ExitStatus;
#[cfg(feature = "lab")]
use hedgerow_lab::commands::{
    batch, bench, check, evaluate, figures, instances, list, plan, profile, quantize, scenario, show,
    simulate, solve, sweep,
};

/// What `--help` adds in a build without the lab.
#[cfg(not(feature = "lab"))]
const WITHOUT_LAB: &str = "This build only serves. `cargo build --release` adds the other commands: profile, list, \
    show, quantize, evaluate, plan, batch, solve, check, instances, bench, scenario, simulate, sweep, figures";

/// An LLM inference server for edge nodes that keeps its promises: each request says by when it needs
/// its answer and how good the answer must be.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[cfg_attr(not(feature = "lab"), command(after_help = WITHOUT_LAB))]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Serve a model over HTTP, in time or not at all
    Serve(serve::ServeArgs),
    /// Compare attainment under overload: the same load first-come-first-served and under the deadline-aware policy
    Demo(demo::DemoArgs),
    /// Measure how fast this machine runs a model, or show what was measured and saved
    #[cfg(feature = "lab")]
    Profile(profile::ProfileArgs),
    /// List the models on this node: size, speed and quality loss of each precision
    #[cfg(feature = "lab")]
    List(list::ListArgs),
    /// Show everything known about a model, and the source of each number
    #[cfg(feature = "lab")]
    Show(show::ShowArgs),
    /// Get a model: the small default one, a Hugging Face repository's, or a file of your own
    Pull(pull::PullArgs),
    /// Store a model in fewer bits, by llama.cpp's own quantizer
    #[cfg(feature = "lab")]
    Quantize(quantize::QuantizeArgs),
    /// Measure the quality loss of each precision of a model: perplexity, divergence, same top token
    #[cfg(feature = "lab")]
    Evaluate(evaluate::EvaluateArgs),
    /// Find how many users a node can serve in time, which precisions to hold for that, and what binds first
    #[cfg(feature = "lab")]
    Plan(Box<plan::PlanArgs>),
    /// Choose a batch for hedgerow-instance/1 files
    #[cfg(feature = "lab")]
    Solve(solve::SolveArgs),
    /// Check answers to a hedgerow-instance/1 file: every limit, the value, the bound and each other
    #[cfg(feature = "lab")]
    Check(check::CheckArgs),
    /// Draw hedgerow-instance/1 files to compare solvers on, reproducible from a seed
    #[cfg(feature = "lab")]
    Instances(instances::InstancesArgs),
    /// Measure: how long solvers take, and how many requests a server answers in time
    #[cfg(feature = "lab")]
    Bench(bench::BenchArgs),
    /// Write, check or show scenario files
    #[cfg(feature = "lab")]
    Scenario(scenario::ScenarioArgs),
    /// Simulate a scenario, or a server's recording, in virtual time
    #[cfg(feature = "lab")]
    Simulate(simulate::SimulateArgs),
    /// Simulate many scenarios: a grid or list of changes, for several policies and seeds
    #[cfg(feature = "lab")]
    Sweep(sweep::SweepArgs),
    /// Draw the figures: the paper's, or those beyond it
    #[cfg(feature = "lab")]
    Figures(figures::FiguresArgs),
    /// Submit a file of requests to a server, follow it and fetch the answers: it survives a restart of the server
    #[cfg(feature = "lab")]
    Batch(batch::BatchArgs),
    /// Explain why a server admitted, delayed or refused a request
    Explain(explain::ExplainArgs),
    /// Find what prevents serving on this machine: one line for each check, with the fix
    Doctor(Box<doctor::DoctorArgs>),
    /// Check that a server is serving; the exit code is the result
    Health(health::HealthArgs),
    /// Make and list API keys
    Keys(Box<keys::KeysArgs>),
    /// Show the configuration in force and where each value comes from
    Config(config::ShowConfigArgs),
    /// Print a shell completion script for commands, options and values
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(man::ManArgs),
}

/// llama-server's flags with one dash and several letters, and their long forms; clap would read each as several.
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

/// Builds the clap command tree, with the settings that hold for every command's flags.
fn command() -> Command {
    everywhere(Cli::command().max_term_width(HELP_WIDTH_MAX))
}

/// Reads a negative number after a flag as the flag's value, so that a range error reports it.
fn everywhere(command: Command) -> Command {
    let takes_a_value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_positional();
    command
        .mut_args(|arg| if takes_a_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(everywhere)
}

/// Reads the command line and runs its command.
pub(crate) fn run(console: &mut Console<'_>) -> anyhow::Result<ExitStatus> {
    let command = command();
    let words = lists::spread(with_long_flags(std::env::args_os()).into_iter(), &command);
    let matches = command.get_matches_from(words);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let own = matches.subcommand().map_or(&matches, |(_, own): (&str, &ArgMatches)| own);
    match cli.command {
        CliCommand::Doctor(args) => return doctor::run(&args, own, console),
        #[cfg(feature = "lab")]
        CliCommand::Batch(args) => return batch::run(&args, console).map(ExitStatus::of),
        CliCommand::Serve(args) => serve::run(&args, own, console),
        CliCommand::Demo(args) => demo::run(&args, own, console),
        #[cfg(feature = "lab")]
        CliCommand::Profile(args) => profile::run(&args, own, console),
        #[cfg(feature = "lab")]
        CliCommand::List(args) => list::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Show(args) => show::run(&args, console),
        CliCommand::Pull(args) => pull::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Quantize(args) => quantize::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Evaluate(args) => evaluate::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Plan(args) => plan::run(&args, own, console),
        #[cfg(feature = "lab")]
        CliCommand::Solve(args) => solve::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Check(args) => return check::run(&args, console).map(ExitStatus::of),
        #[cfg(feature = "lab")]
        CliCommand::Instances(args) => instances::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Bench(args) => bench::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Scenario(args) => scenario::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Simulate(args) => return simulate::run(&args, console).map(ExitStatus::of),
        #[cfg(feature = "lab")]
        CliCommand::Sweep(args) => sweep::run(&args, console),
        #[cfg(feature = "lab")]
        CliCommand::Figures(args) => figures::run(&args, console),
        CliCommand::Explain(args) => explain::run(&args, console),
        CliCommand::Health(args) => health::run(&args, console),
        CliCommand::Keys(args) => keys::run(&args, console),
        CliCommand::Config(args) => config::run(&args, own, console),
        CliCommand::Completions(args) => completions::run(&args, console),
        CliCommand::Man(args) => man::run(&args, console),
    }?;
    Ok(ExitStatus::Success)
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    /// Collects every flag of every command, with the path of command names that leads to it.
    fn flags(command: &Command, way: &[String], found: &mut Vec<(Vec<String>, Arg)>) {
        found.extend(command.get_arguments().map(|arg| (way.to_vec(), arg.clone())));
        for inner in command.get_subcommands() {
            flags(inner, &[way, &[inner.get_name().to_owned()]].concat(), found);
        }
    }

    /// Whether a flag's parser accepts a value; other missing arguments are ignored.
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
            // Flags that are checked later, with the file's and the environment's values, accept any text here.
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
