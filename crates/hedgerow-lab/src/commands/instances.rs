//! `hedgerow instances`: draws batching problems from the instance generators, to compare solvers on.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_sim::generators::{self, Family, UnknownFamily};
use hedgerow_workload::hint::hinted;

use crate::instance_file::InstanceFile;

/// The most requests in an instance.
const REQUESTS_MAX: usize = 100_000;
/// The most files in one call; a larger number is more likely a mistake than intended.
const INSTANCES_MAX: usize = 100_000;

/// The arguments of `hedgerow instances`.
#[derive(Args, Debug)]
pub struct InstancesArgs {
    /// Which instance generators, or `all`; several are separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all",
          value_parser = choice, long_help = families_help())]
    family: Vec<Choice>,

    /// How many requests, from 1 to 100000; several sizes are separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100",
          value_parser = requests, allow_negative_numbers = true)]
    requests: Vec<usize>,

    /// Which seeds: A..B is from A up to, but without, B; COUNT is 0..COUNT
    #[arg(long, value_name = "COUNT|A..B", default_value = "1", value_parser = seeds,
          allow_negative_numbers = true)]
    seeds: Range<u64>,

    /// Write one file for each instance into this folder. Without it, a single instance goes to standard
    /// output
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// One instance generator, or all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    All,
    One(Family),
}

impl Choice {
    pub(crate) fn families(self) -> Vec<Family> {
        match self {
            Self::All => Family::ALL.to_vec(),
            Self::One(family) => vec![family],
        }
    }
}

pub(crate) fn choice(text: &str) -> Result<Choice, UnknownFamily> {
    if text == "all" { Ok(Choice::All) } else { text.parse().map(Choice::One) }
}

pub(crate) fn families_help() -> String {
    let mut help = "Which instance generators, or `all`; several are separated by commas:\n".to_owned();
    for family in Family::ALL {
        write!(help, "\n{:<16} {}", family.name(), family.description()).expect("text grows");
    }
    help
}

pub(crate) fn requests(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=REQUESTS_MAX).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {REQUESTS_MAX}"))
}

pub(crate) fn seeds(text: &str) -> Result<Range<u64>, &'static str> {
    let range = match text.split_once("..") {
        None => text.parse().ok().map(|count| 0..count),
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| from..to),
    };
    range
        .filter(|range| !range.is_empty())
        .ok_or("must be a number of seeds, 1 or more, or a range like 5..8, which is 5, 6 and 7")
}

/// The parameters of one instance.
#[derive(Clone, Copy, Debug)]
struct Draw {
    family: Family,
    requests: usize,
    seed: u64,
}

impl Draw {
    fn name(self) -> String {
        generators::instance_name(self.family, self.requests, self.seed)
    }

    fn file(self) -> InstanceFile {
        InstanceFile {
            name: Some(self.name()),
            ids: (0..self.requests).map(|index| format!("r{index}")).collect(),
            instance: generators::draw(self.family, self.requests, self.seed),
        }
    }
}

/// Draws every requested instance.
pub fn run(args: &InstancesArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let draws = draws(args)?;
    match (&args.out, draws.as_slice()) {
        (Some(folder), draws) => write_all(folder, draws, console),
        (None, [draw]) => console.print(draw.file().to_json()),
        (None, several) => Err(hinted(
            format!("{} instances do not fit standard output, which takes one", several.len()),
            "give a folder by `--out`, or ask for one family, one size and one seed",
        )),
    }
}

/// Lists each combination of generator, size and seed once.
fn draws(args: &InstancesArgs) -> anyhow::Result<Vec<Draw>> {
    let families: BTreeSet<Family> = args.family.iter().flat_map(|choice| choice.families()).collect();
    let sizes: BTreeSet<usize> = args.requests.iter().copied().collect();
    let kinds = (families.len() * sizes.len()) as u64;
    let count = kinds.saturating_mul(args.seeds.end - args.seeds.start);
    if count > INSTANCES_MAX as u64 {
        let message = format!("{count} instances are more than {INSTANCES_MAX} at once");
        return Err(hinted(message, "ask for fewer seeds, sizes or families"));
    }
    let mut draws = Vec::new();
    for &family in &families {
        for &requests in &sizes {
            draws.extend(args.seeds.clone().map(|seed| Draw { family, requests, seed }));
        }
    }
    Ok(draws)
}

fn write_all(folder: &Path, draws: &[Draw], console: &Console<'_>) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    for draw in draws {
        let path = folder.join(format!("{}.json", draw.name()));
        write_whole(&path, &draw.file().to_json()).map_err(|error| cannot_write(&path, &error))?;
    }
    let instances = if draws.len() == 1 { "instance" } else { "instances" };
    console.note(format!("wrote {} {instances} into {}", draws.len(), folder.display()));
    Ok(())
}

pub(crate) fn cannot_write(path: &Path, error: &std::io::Error) -> anyhow::Error {
    hinted(format!("cannot write {}: {error}", path.display()), "choose another folder by `--out`")
}
