//! `hedgerow solve`: chooses a batch for an instance, and reports whether it is proven optimal.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_node::errors;
use hedgerow_workload::hint::hinted;
use serde::Serialize;

use super::solver::{Limits, Solver};
use crate::instance_file::InstanceFile;

/// The arguments of `hedgerow solve`.
#[derive(Args, Debug)]
pub struct SolveArgs {
    /// Files of the format hedgerow-instance/1; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The solver: brute-force, dftsp, exact, greedy, edf, fifo, static:SIZE, none:ACCELERATORS,
    /// or milp in builds with that feature
    #[arg(long, value_name = "SOLVER", default_value = "exact")]
    solver: Solver,

    /// Stop searching after this many seconds, and answer with the incumbent
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    time_limit: Option<Duration>,

    /// Stop searching after this many tree nodes
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    node_limit: u64,

    /// Print one JSON object for each file, one a line
    #[arg(long)]
    json: bool,
}

/// The longest time limit of a search.
const SECONDS_MAX: Duration = Duration::from_secs(1_000_000);

/// Parses a number of seconds from the command line.
pub(super) fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let seconds = seconds.filter(|seconds| *seconds <= SECONDS_MAX);
    seconds.ok_or("must be a number of seconds from 0 to 1000000")
}

/// One file's answer, as `--json` prints it (`model.md §2`).
#[derive(Debug, Serialize)]
struct Solution {
    name: String,
    solver: String,
    status: &'static str,
    value: u128,
    bound: u128,
    chosen: Vec<String>,
    nodes: u64,
    seconds: f64,
    binding: &'static str,
}

/// Solves every file that can be read; an unreadable one is reported, and the others are still solved.
///
/// # Errors
///
/// When any file could not be solved.
pub fn run(args: &SolveArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    if let [path] = args.files.as_slice() {
        return print(&solve_file(path, args)?, args, console);
    }
    let mut failed = 0;
    for path in &args.files {
        match solve_file(path, args) {
            Ok(solution) => print(&solution, args, console)?,
            Err(error) => {
                console.note(errors::describe(&error));
                failed += 1;
            }
        }
    }
    if failed > 0 {
        let message = format!("{failed} of {} files could not be solved", args.files.len());
        return Err(hinted(message, "the reasons are above; the other files were solved"));
    }
    Ok(())
}

fn print(solution: &Solution, args: &SolveArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let text = if args.json { serde_json::to_string(solution)? + "\n" } else { as_lines(solution) };
    console.print(text)
}

fn solve_file(path: &Path, args: &SolveArgs) -> anyhow::Result<Solution> {
    let json = read(path)?;
    let file = InstanceFile::parse(&json).with_context(|| shown(path))?;
    let started = Instant::now();
    let limits = Limits { time: args.time_limit, nodes: args.node_limit };
    let answer = args.solver.solve(&file.instance, limits).with_context(|| shown(path))?;
    Ok(Solution {
        seconds: started.elapsed().as_secs_f64(),
        name: file.name.unwrap_or_else(|| stem(path)),
        solver: args.solver.to_string(),
        status: if answer.is_optimal() { "optimal" } else { "feasible" },
        value: answer.value,
        bound: answer.bound,
        nodes: answer.nodes,
        binding: hedgerow_solver::binding(&file.instance, &answer.chosen)
            .map_or("none", |limit| limit.name()),
        chosen: answer.chosen.iter().map(|&index| file.ids[index].clone()).collect(),
    })
}

/// Reads a whole file, or standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut json = Vec::new();
    let outcome = if is_stdin(path) {
        std::io::stdin().lock().read_to_end(&mut json).map(drop)
    } else {
        std::fs::read(path).map(|read| json = read)
    };
    outcome.map_err(|error| {
        hinted(format!("reading {}: {error}", shown(path)), "check the path, or give `-` for standard input")
    })?;
    Ok(hedgerow_workload::without_byte_order_mark(&json).to_owned())
}

/// Whether a path means standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The name of a file in error messages.
pub(super) fn shown(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// The name of an instance whose file has none.
fn stem(path: &Path) -> String {
    if is_stdin(path) {
        return "stdin".to_owned();
    }
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn as_lines(solution: &Solution) -> String {
    let Solution { name, solver, status, value, bound, chosen, nodes, seconds, binding } = solution;
    let count = chosen.len();
    let chosen = if chosen.is_empty() { "none".to_owned() } else { chosen.join(" ") };
    let proof = match *status {
        "optimal" => "proven to be the most".to_owned(),
        _ => format!("not proven; at most {bound} is possible"),
    };
    let mut text = String::new();
    let mut line = |label: &str, value: String| writeln!(text, "{label:<8} {value}").expect("text grows");
    line("name", name.clone());
    line("solver", format!("{solver}, {nodes} nodes, {seconds:.6} s"));
    line("value", format!("{value} ({proof})"));
    line("chosen", format!("{count}: {chosen}"));
    line("binding", (*binding).to_owned());
    text
}
