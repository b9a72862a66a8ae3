//! Selects the kernels and the devices that a model is loaded with: the fast ones, if they compute correctly here.
//!
//! - takes: a model file, what the configuration asks for, and how the engine will be set up
//! - gives: a [`Chosen`]: the kernels to load the model with, and the reason for the choice; and the [`Placement`] of
//!   its layers
//! - never: runs kernels in this process that have not run in a child process before, unless configured to
//!
//! Read [`choose_and_place`] first. A miscompiled program, or one built for another CPU, causes a signal, NaN or wrong
//! numbers when a model computes for the first time; so does a device with a wrong driver. So the first computation
//! happens in a child process: `hedgerow kernel-check` reads a short text (`trial`), once with plain kernels and once
//! with fast ones, and `compare` compares the scores of both. Layers on devices are then compared with the plain
//! kernels in the same way. The `Verdict` is saved for each machine, build, kind of model and setup.

mod check;
mod child;
mod command;
mod compare;
mod instructions;
mod offload;
mod saved;
mod subject;
mod trial;
mod verdict;

use std::path::Path;

use check::{Program, check};
use hedgerow_llama::{EngineOptions, Kernels, cpu_variant, use_cpu_variant};
use hedgerow_workload::hint::hinted;
use indicatif::{ProgressBar, ProgressStyle};
use offload::Offload;
use saved::ResultStore;
use serde::Serialize;
use subject::Subject;
use verdict::Verdict;

use crate::config::{Config, KernelChoice};
use crate::models;
use crate::placement::{Placement, Placer};

pub use command::run_trial_if_asked;
pub(crate) use instructions::lacking;

/// What the kernels are selected for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whether the fast kernels are checked first, used unchecked, or not used: `engine.kernels`.
    pub choice: KernelChoice,
    /// The variant of the CPU kernels; `None`: the one that suits the CPU best, or the one already loaded.
    pub cpu_variant: Option<String>,
    /// How the engine will be set up.
    pub engine: EngineOptions,
}

impl Wanted {
    /// Reads the `[engine]` section of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            choice: config.engine.kernels,
            cpu_variant: config.engine.cpu_variant.clone(),
            engine: crate::engine_setup::engine_options(config),
        }
    }
}

/// The kernels to load a model with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// The kernels themselves: fast or plain.
    #[serde(rename = "in_use", serialize_with = "verdict::serialize_kernels")]
    pub kernels: Kernels,
    /// `checked`, `asked`, or the reason against the fast kernels or the devices, as a stable name.
    pub reason: &'static str,
    /// The reason against the fast kernels or the devices, as readable text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Selects the kernels for a model, and places its layers on devices that compute correctly.
///
/// # Errors
///
/// As [`choose`] and [`Placer::place`]; when the configuration requires layers on devices and the check is against it.
pub fn choose_and_place(
    model: &Path,
    wanted: &Wanted,
    placer: &mut Placer,
) -> anyhow::Result<(Chosen, Placement)> {
    let chosen = choose(model, wanted)?;
    if chosen.kernels == Kernels::Plain {
        return offload::all_on_the_cpu(chosen, placer.requires_devices());
    }
    // Only now: this starts llama.cpp here, after its kernels have run in a child process.
    let placement = placer.place(model)?;
    match Offload::of(&placement) {
        None => Ok((chosen, placement)),
        Some(offload) => {
            let verdict = verdict(model, wanted, Some(offload))?;
            offload::settle(&verdict, wanted.choice, placer.requires_devices(), chosen, placement)
        }
    }
}

/// Selects the kernels for a model on the CPU, from the saved verdict or by a check now, which takes as long as loading
/// the model twice and reading 38 tokens with each kind of kernels.
///
/// # Errors
///
/// When none of this program's kernels compute correctly here, or the requested CPU variant does not exist.
pub fn choose(model: &Path, wanted: &Wanted) -> anyhow::Result<Chosen> {
    use_variant(wanted.cpu_variant.as_deref())?;
    if wanted.choice == KernelChoice::Plain {
        return Ok(Chosen { kernels: Kernels::Plain, reason: "asked", detail: None });
    }
    settle(&verdict(model, wanted, None)?, wanted)
}

/// Returns the verdict that this build saved for such a model on this machine, or checks now.
fn verdict(model: &Path, wanted: &Wanted, offload: Option<Offload>) -> anyhow::Result<Verdict> {
    // A process has one CPU variant: that of the model loaded first.
    let loaded = cpu_variant().map(str::to_owned);
    let wanted = Wanted { cpu_variant: loaded.or_else(|| wanted.cpu_variant.clone()), ..wanted.clone() };
    let subject = Subject::of(model, &wanted, offload)?;
    let saved = if subject.is_known() { store()?.find(&subject) } else { None };
    saved.map_or_else(|| check_now(model, &wanted, subject), Ok)
}

/// Checks now, and saves the verdict if it is reproducible.
fn check_now(model: &Path, wanted: &Wanted, subject: Subject) -> anyhow::Result<Verdict> {
    let program = Program::this(model, wanted)?;
    let what =
        subject.offload.as_ref().map_or_else(|| "this machine's kernels".to_owned(), Offload::to_string);
    tracing::info!(model = %model.display(), "checking {what} in a child process");
    let spinner = spinner(what);
    let verdict = check(subject, &program);
    spinner.finish_and_clear();
    if verdict.is_lasting()
        && verdict.subject.is_known()
        && let Err(error) = store()?.save(&verdict)
    {
        tracing::warn!("the check of the kernels cannot be saved: {error}; the next start checks again");
    }
    Ok(verdict)
}

fn store() -> anyhow::Result<ResultStore> {
    Ok(ResultStore::new(models::cache_folder()?.join("kernels")))
}

/// Turns a verdict into the selection of kernels for loading the model.
fn settle(verdict: &Verdict, wanted: &Wanted) -> anyhow::Result<Chosen> {
    let first = verdict.first_failure();
    let wants_fast = wanted.choice == KernelChoice::Fast;
    let chosen = match (&verdict.usable, first) {
        (Some(setup), None) => {
            tracing::info!(took_ms = verdict.took_ms, "the fast kernels agree with the plain ones");
            use_variant(setup.cpu_variant.as_deref())?;
            return Ok(Chosen { kernels: setup.kernels, reason: "checked", detail: None });
        }
        (_, Some(failure)) if wants_fast => {
            tracing::warn!("{failure}; they are used all the same, because `engine.kernels` is `fast`");
            Chosen { kernels: Kernels::Fast, reason: failure.kind.name(), detail: Some(failure.to_string()) }
        }
        (Some(setup), Some(failure)) => {
            use_variant(setup.cpu_variant.as_deref())?;
            tracing::error!("{failure}; going on with {setup}. {}", failure.way_out());
            Chosen { kernels: setup.kernels, reason: failure.kind.name(), detail: Some(failure.to_string()) }
        }
        // The kernels themselves are not at fault: loading the model here reports the actual error, if there is one.
        (None, Some(failure)) if !failure.kind.is_of_kernels() => {
            tracing::warn!("{failure}; going on with the plain kernels");
            Chosen { kernels: Kernels::Plain, reason: failure.kind.name(), detail: Some(failure.to_string()) }
        }
        (None, Some(failure)) => {
            return Err(hinted(
                format!("no kernels of this program compute on this machine: {failure}"),
                "this program was built for another CPU, or by a compiler that is wrong: build it on this machine, or \
                 use a build with the feature `portable`, which runs anywhere; --kernels plain skips the check",
            ));
        }
        (None, None) => anyhow::bail!("the check of the kernels came to nothing"),
    };
    Ok(chosen)
}

fn use_variant(name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    use_cpu_variant(name).map_err(|error| hinted(&error, error.hint()))
}

/// A progress spinner for the time of the check, shown only on a terminal.
fn spinner(what: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} checking {msg}, once {elapsed}")
        .expect("the template is well formed");
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(200));
    spinner
}

#[cfg(test)]
mod tests {
    use hedgerow_core::node::KvType;
    use hedgerow_core::units::Tokens;

    use super::verdict::FailureKind;
    use super::verdict::tests::verdict;
    use super::*;

    pub(super) fn engine() -> EngineOptions {
        EngineOptions {
            parallel: 1,
            context: Tokens(256),
            retained: 0,
            threads: 1,
            threads_batch: 1,
            micro_batch: Tokens(128),
            kv_unified: false,
            flash_attention: true,
            kv_type: KvType::F16,
        }
    }

    fn wanted(choice: KernelChoice) -> Wanted {
        Wanted { choice, cpu_variant: None, engine: engine() }
    }

    #[test]
    fn fast_kernels_that_failed_are_used_only_where_they_are_asked_for() {
        let failed = verdict();
        let auto = settle(&failed, &wanted(KernelChoice::Auto)).unwrap();
        assert_eq!((auto.kernels, auto.reason), (Kernels::Plain, "signal"));
        assert!(auto.detail.unwrap().contains("SIGILL"));
        let fast = settle(&failed, &wanted(KernelChoice::Fast)).unwrap();
        assert_eq!((fast.kernels, fast.reason), (Kernels::Fast, "signal"));
    }

    #[test]
    fn fast_kernels_that_passed_are_used() {
        let mut passed = verdict();
        passed.trials[1].failure = None;
        passed.usable.as_mut().unwrap().kernels = Kernels::Fast;
        let chosen = settle(&passed, &wanted(KernelChoice::Auto)).unwrap();
        assert_eq!(chosen, Chosen { kernels: Kernels::Fast, reason: "checked", detail: None });
    }

    #[test]
    fn where_nothing_computes_the_error_names_instruction_sets_and_a_way_out() {
        let mut failed = verdict();
        failed.usable = None;
        failed.trials.remove(0);
        failed.trials[0].failure.as_mut().unwrap().what += " (compiled with AMX_INT8)";
        let error = settle(&failed, &wanted(KernelChoice::Auto)).unwrap_err();
        assert!(error.to_string().contains("compiled with AMX_INT8"), "{error}");
        let asked = settle(&failed, &wanted(KernelChoice::Fast)).unwrap();
        assert_eq!(asked.kernels, Kernels::Fast);
    }

    #[test]
    fn a_model_that_cannot_be_loaded_is_left_to_whoever_loads_it_here() {
        let mut failed = verdict();
        failed.usable = None;
        failed.trials.remove(0);
        failed.trials[0].failure.as_mut().unwrap().kind = FailureKind::NotLoaded;
        let chosen = settle(&failed, &wanted(KernelChoice::Auto)).unwrap();
        assert_eq!((chosen.kernels, chosen.reason), (Kernels::Plain, "not_loaded"));
    }
}
