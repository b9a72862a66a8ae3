//! `hedgerow plan`: how many users a node can serve in time.

mod args;
mod plot;
mod report;

use std::path::Path;

use clap::ArgMatches;
use hedgerow_core::node::Node;
use hedgerow_core::units::Bytes;
use hedgerow_node::catalogue::{self, Model};
use hedgerow_node::config::{self, Config};
use hedgerow_node::console::{Console, Notes};
use hedgerow_node::files::write_whole;
use hedgerow_node::host::Machine;
use hedgerow_node::models::FetchOptions;
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};

use self::report::{Place, Report};
use super::show;
use crate::plan::{self, Answer, Estimate, Goal, Held, Here, Mix, Play, Sets};

pub use self::args::PlanArgs;

/// Plans, and prints the result.
///
/// # Errors
///
/// When a flag or a file is wrong, the model or the device is unknown, or no set of precisions is feasible.
pub fn run(args: &PlanArgs, matches: &ArgMatches, console: &mut Console<'_>) -> anyhow::Result<()> {
    let layered = config::load(matches, args.common.config.as_deref())?;
    let _logging = hedgerow_node::logging::start(&layered.config.log)?;
    let config = &layered.config;
    let goal = args.goal();
    let is_set = |key: &str| {
        let value = layered.values.get(&("engine".to_owned(), key.to_owned()));
        value.is_some_and(|(_, source)| source != "default")
    };
    let mut mix = args.mix(config.link.bytes_per_token)?;
    let (place, known, sets) = match &args.device {
        Some(device) => estimated(args, device, &mix, config, &is_set)?,
        None => measured(args, &mut mix, config, console.notes)?,
    };
    let slowdown = args.slowdown(console.notes)?;
    let play = Play { mix, settings: config.settings.clone(), slowdown, seeds: args.seeds.clone() };
    let answers = play_all(&sets, &known, &play, goal, &args.rate)?;
    let report =
        Report { place, known, answers, left_out: sets.left_out, play, goal, per_user: args.per_user };
    if let Some(file) = &args.plot {
        write_whole(file, &plot::plot(&report)).map_err(|error| {
            hinted(format!("cannot write {}: {error}", file.display()), "choose another file by `--plot`")
        })?;
        console.note(format!("wrote {}", file.display()));
    }
    let text = if args.json { report.json()? } else { report.table() };
    console.print(text)
}

type Found = (Place, Vec<Held>, Sets);

/// Finds the sets of precisions for this machine, from what was measured here.
fn measured(args: &PlanArgs, mix: &mut Mix, config: &Config, notes: Notes<'_>) -> anyhow::Result<Found> {
    args.refuse_flags_of_devices()?;
    let named = &config.model.name;
    let path = Path::new(named);
    let catalogue = catalogue::refresh(if path.is_file() { std::slice::from_ref(&path) } else { &[] })?;
    let model = show::find(&catalogue, named).map_err(|error| match Estimate::knows(named) {
        true => error.context(format!("{named} can be planned for only with a --device, as an estimate")),
        false => error,
    })?;
    let mut options = FetchOptions::from_environment()?;
    options.offline = true;
    let here = Here::find(&chosen(&model, &args.precisions)?.precisions, config, &options, notes)?;
    mix.prompt_tokens = here.prompt_tokens;
    let memory = args.memory().unwrap_or_else(Here::memory);
    let sets = plan::candidates(here.held(), args.at_once(mix), mix, memory, |set| here.node(set))?;
    let known = here.held().to_vec();
    Ok((
        Place::Here { here: Box::new(here), model: model.name, machine: Machine::this(), memory },
        known,
        sets,
    ))
}

/// Returns the model with the named precisions, or with all of them if none is named.
fn chosen(model: &Model, named: &[String]) -> anyhow::Result<Model> {
    let mut chosen = Model { precisions: Vec::new(), ..model.clone() };
    for name in named {
        let entry = model.precision(name).ok_or_else(|| {
            let there: Vec<&str> =
                model.precisions.iter().map(|entry| entry.facts.precision.as_str()).collect();
            hinted(
                format!("{} is not here in the precision `{name}`", model.name),
                format!("there are {}; `hedgerow quantize` makes others", there.join(", ")),
            )
        })?;
        chosen.precisions.push(entry.clone());
    }
    Ok(if named.is_empty() { model.clone() } else { chosen })
}

/// Finds the sets of precisions for a device of the table.
fn estimated(
    args: &PlanArgs,
    device: &str,
    mix: &Mix,
    config: &Config,
    is_set: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Found> {
    let asked = args.asked(device, config, is_set);
    let estimate = Estimate::new(&asked, mix)?;
    let memory: Bytes = estimate.memory();
    let node = |set: &[usize]| -> anyhow::Result<Node> { Ok(estimate.node(set)) };
    let sets = plan::candidates(estimate.held(), args.at_once(mix), mix, memory, node)?;
    let known = estimate.held().to_vec();
    let (accelerators, efficiency) = (asked.accelerators, asked.efficiency);
    Ok((Place::Estimate { estimate: Box::new(estimate), accelerators, efficiency }, known, sets))
}

/// Simulates every set, with a progress bar.
fn play_all(
    sets: &Sets,
    known: &[Held],
    play: &Play,
    goal: Goal,
    rates: &[f64],
) -> anyhow::Result<Vec<Answer>> {
    let style = ProgressStyle::with_template("{msg} {bar:30} {percent} %, {eta} left")
        .expect("the template is well formed");
    let count = sets.candidates.len() as u64;
    let bar = ProgressBar::new(count * plan::RUNS_PER_SET).with_style(style);
    let mut answers = Vec::new();
    for candidate in &sets.candidates {
        bar.set_message(plan::names(known, &candidate.set));
        answers.push(plan::answer(candidate.clone(), play, goal, rates, &|| bar.inc(1))?);
        // Some sets need fewer runs than expected, some more.
        bar.set_position(answers.len() as u64 * plan::RUNS_PER_SET);
    }
    bar.finish_and_clear();
    Ok(answers)
}
