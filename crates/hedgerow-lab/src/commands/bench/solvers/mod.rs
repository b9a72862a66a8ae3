//! `hedgerow bench solvers`: measures the solvers' times and optimality gaps, and checks that they agree.
//!
//! Instances are drawn in memory, and every solver gets each of them before the next is drawn, on one core.
//! Every batch is checked against the definition, and every bound against every batch: a run with a wrong answer
//! ends with an error and no table.

mod cp_sat;
mod files;
mod measure;
mod plot;
mod summary;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_sim::generators::{self, Family};
use hedgerow_solver::{Instance, Policy};
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};

use self::cp_sat::CpSat;
use self::measure::{BRUTE_FORCE_REQUESTS_MAX, Contender, Effort, Measured, Run};
use self::summary::Report;
use crate::commands::instances::{Choice, choice, families_help, requests, seeds};
use crate::commands::solve::seconds;
use crate::commands::solver::{Limits, Solver};

/// The arguments of `hedgerow bench solvers`.
#[derive(Args, Debug)]
pub(crate) struct SolversArgs {
    /// Which solvers, separated by commas, by the names of `hedgerow solve --solver`; brute-force runs only up to 20
    /// requests
    #[arg(
        long,
        value_name = "SOLVER",
        value_delimiter = ',',
        default_value = "exact,greedy,dftsp,brute-force"
    )]
    solver: Vec<Solver>,

    /// Which instance generators, or `all`; several are separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all",
          value_parser = choice, long_help = families_help())]
    family: Vec<Choice>,

    /// How many requests, from 1 to 100000; several sizes are separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10,100,400,1000",
          value_parser = requests, allow_negative_numbers = true)]
    requests: Vec<usize>,

    /// Which seeds: A..B is from A up to, but without, B; COUNT is 0..COUNT
    #[arg(long, value_name = "COUNT|A..B", default_value = "5", value_parser = seeds,
          allow_negative_numbers = true)]
    seeds: Range<u64>,

    /// Stop each search after this many seconds; its answer then counts as not proven
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds,
          allow_negative_numbers = true)]
    time_limit: Duration,

    /// A time is the least of this many runs, or of fewer once they have taken 0.1 s in total
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Skip a solver other than exact for the rest of a generator once this many of its searches ran out of time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,

    /// Also time exact warm-started with its answer to the previous queue, after one departure and one arrival
    #[arg(long)]
    again: bool,

    /// Also solve each instance with OR-tools' CP-SAT on one worker; PYTHON is an interpreter that can
    /// import ortools
    #[arg(long, value_name = "PYTHON")]
    cp_sat: Option<PathBuf>,

    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,

    /// Write summary.csv, runs.csv, summary.json and times.svg into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs every solver on every instance, and reports.
///
/// # Errors
///
/// When a solver is not in this build, CP-SAT cannot be run, two answers contradict each other, or a file
/// cannot be written.
pub(crate) fn run(args: &SolversArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    if let Some(folder) = &args.out {
        files::make(folder)?; // Before the work, not after it.
    }
    let mut contenders = contenders(args)?;
    let runs = run_all(args, &mut contenders)?;
    let report = Report::of(args, &contenders, &runs);
    if let Some(folder) = &args.out {
        files::write_all(folder, &report, &runs, console)?;
    }
    let text = if args.json { report.to_json() } else { report.table() };
    console.print_line(text)
}

/// Returns the solvers to compare.
///
/// # Errors
///
/// When a solver is not in this build, CP-SAT cannot be started, or no solver takes any of the sizes.
fn contenders(args: &SolversArgs) -> anyhow::Result<Vec<Contender>> {
    let mut solvers: Vec<Solver> = Vec::new();
    for &solver in &args.solver {
        if !solvers.contains(&solver) {
            // Fails if this build does not have it.
            solver.solve(&Instance::default(), Limits { time: None, nodes: u64::MAX })?;
            solvers.push(solver);
        }
    }
    let mut contenders: Vec<Contender> = solvers
        .into_iter()
        .map(|solver| match solver {
            Solver::Policy(Policy::Exact) => Contender::Exact(Box::default()),
            Solver::Policy(_) | Solver::Milp => Contender::Ours(solver),
        })
        .collect();
    if args.again {
        contenders.push(Contender::Again(Box::default()));
    }
    if let Some(python) = &args.cp_sat {
        contenders.push(Contender::CpSat(CpSat::start(python, args.time_limit)?));
    }
    if !contenders.iter().any(|contender| args.requests.iter().any(|&requests| contender.can_take(requests)))
    {
        return Err(hinted(
            format!("brute-force is only run up to {BRUTE_FORCE_REQUESTS_MAX} requests"),
            "ask for fewer requests, or for another solver as well",
        ));
    }
    Ok(contenders)
}

fn run_all(args: &SolversArgs, contenders: &mut [Contender]) -> anyhow::Result<Vec<Run>> {
    let families: BTreeSet<Family> = args.family.iter().flat_map(|choice| choice.families()).collect();
    let sizes: BTreeSet<usize> = args.requests.iter().copied().collect();
    let effort = Effort { time_limit: args.time_limit, repeat: args.repeat };
    let bar = progress_bar((families.len() * sizes.len()) as u64, &args.seeds);
    let mut runs = Vec::new();
    for family in families {
        let mut out_of_time_counts = vec![0; contenders.len()];
        for &requests in &sizes {
            bar.set_message(format!("{family}, {requests} requests"));
            for seed in args.seeds.clone() {
                let instance = generators::draw(family, requests, seed);
                let other = generators::draw(family, requests, seed.wrapping_add(1));
                let before = measure::queue_before(&instance, &other);
                let mut answers = Vec::new();
                for (contender, out_of_time_count) in contenders.iter_mut().zip(&mut out_of_time_counts) {
                    // `exact` is the subject of the comparison, so it is never skipped.
                    let is_in = contender.is_exact() || *out_of_time_count < args.patience;
                    if is_in && contender.can_take(requests) {
                        let measured = contender.measure(&instance, &before, effort)?;
                        *out_of_time_count += u32::from(measured.is_out_of_time(effort));
                        let search = measured.search.map(|time| Measured { time, ..measured.clone() });
                        answers.push((contender.name(), measured));
                        answers.extend(search.map(|search| (cp_sat::SEARCH.to_owned(), search)));
                    }
                }
                agree(&generators::instance_name(family, requests, seed), &instance, &answers)?;
                runs.extend(Run::all_of(family, requests, seed, answers));
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(runs)
}

/// Returns a progress bar, drawn on a terminal only, between instances and by this thread.
fn progress_bar(groups: u64, seeds: &Range<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} instances, {elapsed}, {msg}")
        .expect("the template is well formed");
    ProgressBar::new(groups.saturating_mul(seeds.end - seeds.start)).with_style(style)
}

/// Checks every batch against the definition, and every bound against every batch. So two answers that both claim to
/// be proven have the same value.
fn agree(name: &str, instance: &Instance, answers: &[(String, Measured)]) -> anyhow::Result<()> {
    let wrong = |what: String| {
        let hint =
            format!("this is a mistake in hedgerow or in a peer: please report it with the name {name}");
        Err(hinted(format!("{name}: {what}"), hint))
    };
    for (solver, answer) in answers {
        if let Err(what) = answer.check(instance) {
            return wrong(format!("{solver}: {what}"));
        }
    }
    let best = answers.iter().max_by_key(|(_, answer)| answer.value);
    let lowest = answers.iter().min_by_key(|(_, answer)| answer.bound);
    if let (Some((finder, best)), Some((bounder, lowest))) = (best, lowest)
        && best.value > lowest.bound
    {
        return wrong(format!(
            "{bounder} gives an upper bound of {}, but {finder} found a batch of value {}",
            lowest.bound, best.value
        ));
    }
    Ok(())
}
