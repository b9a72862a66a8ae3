//! `hedgerow evaluate`: measures the quality loss of each precision of a model.

mod plot;
mod table;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use hedgerow_core::node::KvType;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, PIECE_MAX};
use hedgerow_node::catalogue;
use hedgerow_node::config::KernelChoice;
use hedgerow_node::config::{LogConfig, LogFormat};
use hedgerow_node::console::{Console, Notes};
use hedgerow_node::files::write_whole;
use hedgerow_node::host::{MemoryRoom, Root};
use hedgerow_node::kernels;
use hedgerow_node::loading::{self, LoadedModel};
use hedgerow_node::models::{self, Bar, FetchOptions, ModelError};
use hedgerow_node::profile::ModelFile;
use hedgerow_node::quality::{self, Quality, QualityError, ResultStore, Subject, Text};
use hedgerow_node::quantize::{Ancestor, Origin};
use hedgerow_workload::hint::hinted;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::evaluation::Evaluation;

/// The arguments of `hedgerow evaluate`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  hedgerow evaluate m.Q8_0.gguf m.Q4_0.gguf --reference m.F16.gguf --plot \
quality.svg\n\nThe text is cut into windows of --ctx tokens that do not overlap; in each, what comes after the \
first half is counted, as llama.cpp's llama-perplexity does. All models are in memory at once."
)]
pub struct EvaluateArgs {
    /// The models: .gguf files of one model in several precisions, or names as `serve` takes them
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// The model they are compared with: the same in its best precision
    #[arg(long, value_name = "MODEL", required_unless_present = "saved")]
    reference: Option<String>,
    /// Plain text to read [default: a State of the Union message, 219 kB, fetched once]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a window
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    ctx: u32,
    /// Number of windows to read, or `all` of the text: four times as many make the intervals half as wide
    #[arg(long, value_name = "N|all", default_value = "24", value_parser = chunks)]
    chunks: Chunks,
    /// Threads; 0: one for each core
    #[arg(short = 't', long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: u32,
    /// Kernels: auto (the fast ones if a check finds them right, else the plain ones), fast or plain
    #[arg(
        long,
        value_name = "NAME",
        env = "HEDGEROW_KERNELS",
        default_value = "auto",
        hide_possible_values = true
    )]
    kernels: KernelChoice,
    /// Measure even what was measured and saved before
    #[arg(long)]
    force: bool,
    /// Show what was saved of these models, and measure nothing
    #[arg(long, conflicts_with_all = ["reference", "text", "force"])]
    saved: bool,
    /// Never use the network to get a model or the default text
    #[arg(long, env = "HEDGEROW_OFFLINE")]
    offline: bool,
    /// Print one JSON object: `results`, or an `error` with its code and hint
    #[arg(long)]
    json: bool,
    /// Draw quality over size
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// The number of windows to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    All,
    First(u32),
}

impl Chunks {
    fn most(self) -> Option<u32> {
        match self {
            Self::All => None,
            Self::First(windows) => Some(windows),
        }
    }
}

fn chunks(text: &str) -> Result<Chunks, &'static str> {
    if text == "all" {
        return Ok(Chunks::All);
    }
    let windows = text.parse().ok().filter(|windows| (2..=CHUNKS_MAX).contains(windows));
    windows.map(Chunks::First).ok_or("must be `all`, or a whole number from 2 to 1000000")
}

/// The largest number of windows accepted.
const CHUNKS_MAX: u32 = 1_000_000;

/// Measures what is not saved yet, saves it, and prints all results.
pub fn run(args: &EvaluateArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let _logging =
        hedgerow_node::logging::start(&LogConfig { filter: "warn".into(), format: LogFormat::Text })?;
    let results = if args.saved { of_saved(args, console.notes) } else { of_all(args, console) };
    let results = match results {
        Ok(results) => results,
        Err(error) => {
            let Some((code, hint)) = code_and_hint(&error) else { return Err(error) };
            if args.json {
                let error = json!({ "error": { "code": code, "message": error.to_string(), "hint": hint } });
                console.print_line(format!("{error:#}"))?;
            }
            return Err(hinted(error, hint));
        }
    };
    if let Some(path) = &args.plot {
        write_whole(path, &plot::quality(&results)).map_err(|error| {
            hinted(format!("cannot write {}: {error}", path.display()), "choose another file by `--plot`")
        })?;
        console.note(format!("wrote {}", path.display()));
    }
    let text = if args.json {
        serde_json::to_string_pretty(&json!({ "results": results }))? + "\n"
    } else {
        table::table(&results)
    };
    console.print(text)
}

fn code_and_hint(error: &anyhow::Error) -> Option<(&'static str, String)> {
    let of_quality = error.downcast_ref::<QualityError>().map(|error| (error.code(), error.hint()));
    of_quality.or_else(|| error.downcast_ref::<ModelError>().map(|error| (error.code(), error.hint())))
}

fn of_saved(args: &EvaluateArgs, notes: Notes<'_>) -> anyhow::Result<Vec<Quality>> {
    let mut results = Vec::new();
    for loaded in load(args, &fetch_options(args)?, notes)? {
        let file = ModelFile::of(&loaded.model, &loaded.path)?;
        let found = quality::saved(&file.fingerprint)?;
        if found.is_empty() {
            let hint = "leave --saved out and name a --reference to measure it";
            return Err(hinted(format!("nothing was saved of {}", loaded.path.display()), hint));
        }
        results.extend(found);
    }
    Ok(results)
}

fn of_all(args: &EvaluateArgs, console: &Console<'_>) -> anyhow::Result<Vec<Quality>> {
    let options = fetch_options(args)?;
    let text = text(args, &options, console.notes)?;
    let reference = args.reference.as_deref().context("clap requires a reference")?;
    let wanted = wanted(args);
    let reference = loading::load_model(reference, &options, &wanted, console.notes)?;
    let models = load_beside(&reference, &args.models, &options, &wanted, console.notes)?;
    for loaded in &models {
        quality::kinship(&loaded.path, &loaded.model, &reference.model)?;
    }
    let window = Tokens(args.ctx);
    let evaluation = Evaluation::new(&reference.model, &text, window, args.chunks.most(), args.threads)?;
    let store = ResultStore::new(models::cache_folder()?.join("quality"));
    let reference_file = ModelFile::of(&reference.model, &reference.path)?;
    let subject = |loaded: &LoadedModel| -> anyhow::Result<Subject> {
        let file = ModelFile::of(&loaded.model, &loaded.path)?;
        Ok(evaluation.subject(file, reference_file.clone()))
    };
    let subjects: Vec<Subject> = models.iter().map(subject).collect::<Result<_, _>>()?;
    let mut results: Vec<Option<Quality>> =
        subjects.iter().map(|subject| store.find(subject).filter(|_| !args.force)).collect();
    let missing: Vec<usize> = (0..models.len()).filter(|&index| results[index].is_none()).collect();
    let known = models.len() - missing.len();
    if known > 0 {
        console.note(format!("{known} of {} measured before; --force measures again", models.len()));
    }
    if !missing.is_empty() {
        let loaded: Vec<_> = missing.iter().map(|&index| &*models[index].model).collect();
        check_memory(&reference, &missing.iter().map(|&index| &models[index]).collect::<Vec<_>>())?;
        let progress = Windows::new(evaluation.windows(), console.notes);
        console.note(format!(
            "reading {} of {} windows of {} tokens with {} models; --chunks sets how many",
            evaluation.windows(),
            evaluation.windows_there(),
            args.ctx,
            // The reference is evaluated too, once.
            1 + loaded.iter().filter(|model| !std::ptr::eq(**model, &*reference.model)).count(),
        ));
        let measured = evaluation.run(&loaded, |done| progress.show(done));
        progress.finish();
        for (&index, measured) in missing.iter().zip(measured?) {
            let quality = Quality::new(subjects[index].clone(), evaluation.counted(), measured);
            if let Err(error) = store.save(&quality) {
                console.note(format!("warning: the result is not saved: {error}"));
            }
            results[index] = Some(quality);
        }
    }
    note_limits(&reference, &models, console);
    let seen: Vec<&Path> = models.iter().chain([&reference]).map(|loaded| loaded.path.as_path()).collect();
    catalogue::note(&seen, console.notes);
    Ok(results.into_iter().flatten().collect())
}

fn fetch_options(args: &EvaluateArgs) -> anyhow::Result<FetchOptions> {
    let mut options = FetchOptions::from_environment()?;
    options.offline = args.offline;
    Ok(options)
}

fn text(args: &EvaluateArgs, options: &FetchOptions, notes: Notes<'_>) -> anyhow::Result<Text> {
    let Some(path) = &args.text else {
        let bar = Bar::new(notes);
        let fetched = models::fetch_default_text(options, &|progress| bar.show(progress));
        bar.finish();
        let fetched = fetched.map_err(|error| {
            hinted(format!("the default text is not here: {error}"), "give a text of your own by --text FILE")
        })?;
        return Ok(Text::read(&fetched.path)?);
    };
    Ok(Text::read(path)?)
}

/// Loads each file once: the reference may be among the models, as in
/// `precisions/*.gguf --reference precisions/*F16.gguf`, and evaluating it twice would add nothing.
fn load_beside(
    reference: &LoadedModel,
    names: &[String],
    options: &FetchOptions,
    wanted: &kernels::Wanted,
    notes: Notes<'_>,
) -> anyhow::Result<Vec<LoadedModel>> {
    let mut models: Vec<LoadedModel> = Vec::new();
    for name in names {
        let bar = Bar::new(notes);
        let fetched = models::fetch(&name.parse()?, options, &|progress| bar.show(progress));
        bar.finish();
        let path = fetched?.path;
        let is_there = |loaded: &&LoadedModel| is_same_file(&loaded.path, &path);
        if models.iter().any(|loaded| is_there(&loaded)) {
            continue;
        }
        models.push(match Some(reference).filter(is_there) {
            Some(reference) => reference.clone(),
            None => loading::load_model(name, options, wanted, notes)?,
        });
    }
    Ok(models)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

fn load(args: &EvaluateArgs, options: &FetchOptions, notes: Notes<'_>) -> anyhow::Result<Vec<LoadedModel>> {
    let wanted = wanted(args);
    args.models.iter().map(|name| loading::load_model(name, options, &wanted, notes)).collect()
}

/// Returns the kernels to evaluate with, to be checked in the same setup as the evaluation's engines.
fn wanted(args: &EvaluateArgs) -> kernels::Wanted {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let threads = if args.threads == 0 { cores() } else { args.threads };
    let engine = EngineOptions {
        parallel: 1,
        context: Tokens(args.ctx),
        retained: 0,
        threads,
        threads_batch: threads,
        micro_batch: Tokens(PIECE_MAX as u32),
        kv_unified: false,
        flash_attention: true,
        kv_type: KvType::F16,
    };
    kernels::Wanted { choice: args.kernels, cpu_variant: None, engine }
}

/// Checks the available memory: the files are memory-mapped, so too little would not fail but thrash.
fn check_memory(reference: &LoadedModel, models: &[&LoadedModel]) -> Result<(), QualityError> {
    let others = models.iter().copied().filter(|loaded| !is_same_file(&loaded.path, &reference.path));
    let needed: u64 = std::iter::once(reference).chain(others).map(|loaded| loaded.model.info().file.0).sum();
    match MemoryRoom::read(&Root::system()).map(|room| room.bytes) {
        Some(available) if available < needed => {
            let mb = |bytes: u64| bytes / 1_000_000;
            Err(QualityError::Memory { needed_mb: mb(needed), available_mb: mb(available) })
        }
        Some(_) | None => Ok(()),
    }
}

/// Notes what the figures do not show.
fn note_limits(reference: &LoadedModel, models: &[LoadedModel], console: &Console<'_>) {
    let precision = |loaded: &LoadedModel| loaded.model.info().precision.clone();
    let mut descendants: Vec<(Ancestor, Vec<String>)> = Vec::new();
    for loaded in std::iter::once(reference).chain(models) {
        let Some(ancestor) = Origin::beside(&loaded.path).and_then(|origin| origin.no_better_than) else {
            continue;
        };
        match descendants.iter_mut().find(|(known, _)| *known == ancestor) {
            Some((_, names)) if names.contains(&precision(loaded)) => {}
            Some((_, names)) => names.push(precision(loaded)),
            None => descendants.push((ancestor, vec![precision(loaded)])),
        }
    }
    for (ancestor, names) in &descendants {
        console.note(format!("note: {}", ancestor.warning(&names.join(", "))));
    }
    let best = precision(reference);
    if !["F32", "F16", "BF16"].contains(&best.as_str()) {
        console.note(format!(
            "note: the reference is {best}: losses are measured against that file, not against the weights that \
             it was made from"
        ));
    }
}

/// The progress over windows: a bar on a terminal, elsewhere a line every ten seconds.
struct Windows<'a> {
    notes: Notes<'a>,
    bar: Option<ProgressBar>,
    all: u32,
    started: Instant,
    line_due: std::cell::Cell<Instant>,
}

impl<'a> Windows<'a> {
    const LINE_EVERY: Duration = Duration::from_secs(10);

    fn new(all: u32, notes: Notes<'a>) -> Self {
        let style = ProgressStyle::with_template("reading [{bar:30}] {pos} of {len} windows {eta}")
            .expect("the template is well formed");
        let bar = || ProgressBar::new(all.into()).with_style(style.progress_chars("=> "));
        let started = Instant::now();
        let line_due = std::cell::Cell::new(started + Self::LINE_EVERY);
        Self { notes, bar: std::io::stderr().is_terminal().then(bar), all, started, line_due }
    }

    fn show(&self, done: u32) {
        if let Some(bar) = &self.bar {
            bar.set_position(done.into());
        } else if Instant::now() >= self.line_due.get() {
            self.line_due.set(Instant::now() + Self::LINE_EVERY);
            let left = self.started.elapsed() * (self.all - done) / done.max(1);
            (self.notes)(&format!("read {done} of {} windows, {} left", self.all, HumanDuration(left)));
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
