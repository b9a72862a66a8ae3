//! The child's part of a check: the model reads a short text with one kind of kernels or on devices, and the scores go
//! to standard output. Each line is written before the next stage begins, so that a signal does not lose the earlier
//! ones.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use hedgerow_llama::{Device, EngineOptions, LlamaModel, LoadOptions, probe};
use serde::{Deserialize, Serialize};

use crate::sample::TEXT;

/// One line that the child writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// llama.cpp has started.
    Started {
        /// Instruction sets that its CPU kernels were compiled with.
        instruction_sets: Vec<String>,
        /// Variant of the CPU kernels that is loaded; `None` in a build that has no variants.
        cpu_variant: Option<String>,
    },
    /// The model is loaded.
    Loaded,
    /// The model's scores for the text: all tokens at each position; `None` for a value that is not finite.
    Scores(Vec<Vec<Option<f32>>>),
    /// The trial failed for a reason unrelated to kernels.
    NotDone(String),
    /// The CPU does not support the variant to be tried.
    NotForThisCpu,
}

/// Runs a trial and writes the result. `devices` are the names of those that hold the offloaded layers.
///
/// # Errors
///
/// When standard output is closed.
pub(super) fn run(
    model: &Path,
    load: &LoadOptions,
    engine: &EngineOptions,
    cpu_variant: Option<&str>,
    devices: &[String],
) -> anyhow::Result<()> {
    stay_a_child();
    match scores(model, load, engine, cpu_variant, devices) {
        Ok(Some(scores)) => say(&Line::Scores(scores)),
        Ok(None) => say(&Line::NotForThisCpu),
        Err(error) => say(&Line::NotDone(format!("{error:#}"))),
    }
}

/// Computes the scores; `None` where the CPU does not support the variant.
fn scores(
    path: &Path,
    load: &LoadOptions,
    engine: &EngineOptions,
    cpu_variant: Option<&str>,
    devices: &[String],
) -> anyhow::Result<Option<Vec<Vec<Option<f32>>>>> {
    if let Some(name) = cpu_variant {
        hedgerow_llama::use_cpu_variant(name)?;
    }
    let started = hedgerow_llama::started_instruction_sets();
    if cpu_variant.is_some() && hedgerow_llama::cpu_variant().is_none() {
        return Ok(None);
    }
    let cpu_variant = hedgerow_llama::cpu_variant().map(str::to_owned);
    say(&Line::Started { instruction_sets: started?, cpu_variant })?;
    let model = LlamaModel::load_on(path, load, &named(devices)?, |_| {})?;
    say(&Line::Loaded)?;
    let text = model.tokenize(TEXT, false, false);
    let scores = probe(&model, engine, &text)?;
    let finite = |score: f32| score.is_finite().then_some(score);
    Ok(Some(scores.into_iter().map(|row| row.into_iter().map(finite).collect()).collect()))
}

/// Finds devices by name.
fn named(names: &[String]) -> anyhow::Result<Vec<Device>> {
    if names.is_empty() {
        // Listing devices may allocate memory on them.
        return Ok(Vec::new());
    }
    let here = hedgerow_llama::devices()?;
    let find = |name: &String| {
        let found = here.iter().find(|device| device.name == *name).cloned();
        found.with_context(|| format!("the device {name} is not here"))
    };
    names.iter().map(find).collect()
}

fn say(line: &Line) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    out.flush().context("writing to standard output")
}

/// Disables core files and crash reports, because a trial may be expected to crash, and makes the child end with its
/// parent.
fn stay_a_child() {
    use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
    // Where the system allows neither, the check still works.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}
