//! What happens in the child: the model reads a short text with one kind of kernels, and the scores go to standard
//! output. Each line is written before what comes next begins, so that a signal leaves all that was before it.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use hedgerow_llama::{EngineOptions, LlamaModel, LoadOptions, probe};
use serde::{Deserialize, Serialize};

use crate::sample::TEXT;

/// One line that the child writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// llama.cpp runs.
    Started {
        /// What its CPU kernels were compiled with.
        instruction_sets: Vec<String>,
        cpu_variant: Option<String>,
    },
    /// The model is loaded.
    Loaded,
    /// What it says of the text: scores of all tokens, place by place; `None` for what is not a finite number.
    Scores(Vec<Vec<Option<f32>>>),
    /// It could not be done, for a reason that has nothing to do with kernels.
    NotDone(String),
    /// The CPU does not run the variant that was to be tried.
    NotForThisCpu,
}

/// Runs a trial and writes what comes out.
///
/// # Errors
///
/// When nobody reads it.
pub(crate) fn run(
    model: &Path,
    load: &LoadOptions,
    engine: &EngineOptions,
    cpu_variant: Option<&str>,
) -> anyhow::Result<()> {
    stay_a_child();
    match scores(model, load, engine, cpu_variant) {
        Ok(Some(scores)) => say(&Line::Scores(scores)),
        Ok(None) => say(&Line::NotForThisCpu),
        Err(error) => say(&Line::NotDone(format!("{error:#}"))),
    }
}

/// `None` where the CPU does not run the variant.
fn scores(
    path: &Path,
    load: &LoadOptions,
    engine: &EngineOptions,
    cpu_variant: Option<&str>,
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
    let model = LlamaModel::load(path, load, |_| {})?;
    say(&Line::Loaded)?;
    let text = model.tokenize(TEXT, false, false);
    let scores = probe(&model, engine, &text)?;
    let finite = |score: f32| score.is_finite().then_some(score);
    Ok(Some(scores.into_iter().map(|row| row.into_iter().map(finite).collect()).collect()))
}

fn say(line: &Line) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    out.flush().context("writing to standard output")
}

/// A trial that dies is expected to: it leaves no core file and no crash report. It does not outlive the process
/// that waits for it.
fn stay_a_child() {
    use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
    // Where the system allows neither, the check works all the same.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}
