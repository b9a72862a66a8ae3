//! Fetches, checks, places and loads a model by name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use hedgerow_llama::{LlamaModel, LoadOptions};
use hedgerow_workload::hint::hinted;
use serde::{Deserialize, Serialize};

use crate::clock::millis_since;
use crate::config::Config;
use crate::console::Notes;
use crate::footprint;
use crate::host;
use crate::kernels::{self, Chosen};
use crate::models::{self, Bar, FetchOptions, FetchedModel, ModelSource};
use crate::placement::{Placement, Placer};
use crate::service_manager;

/// A loaded model.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// The weights and vocabulary in memory.
    pub model: Arc<LlamaModel>,
    /// The model's name.
    pub name: String,
    /// The model file.
    pub path: PathBuf,
    /// The chosen kernels and the reason.
    pub kernels: Chosen,
    /// Load time in ms, with the file on the local disk.
    pub load_ms: u64,
    /// Memory before and after loading.
    pub memory: Memory,
}

/// Resident memory of this process, in bytes; `None` where the system does not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Just before the model is loaded.
    pub before_load: Option<u64>,
    /// Just after the model is loaded, before its engine is created.
    pub loaded: Option<u64>,
    /// After measurement, with the engine's KV cache and all memory that a step touches.
    pub measured: Option<u64>,
}

/// Fetches a model, shows its progress, and checks that its file is complete.
///
/// # Errors
///
/// When the model cannot be fetched or its file is damaged.
fn fetch_model(name: &str, options: &FetchOptions, notes: Notes<'_>) -> anyhow::Result<FetchedModel> {
    let source: ModelSource = name.parse()?;
    let bar = Bar::new(notes);
    service_manager::starting(&format!("getting {name}"));
    let fetched = models::fetch(&source, options, &|progress| {
        bar.show(progress);
        service_manager::still_starting(|| format!("{} {}", progress.activity, progress.file));
    });
    bar.finish();
    let fetched = fetched?;
    models::validate_gguf(&fetched.path)?;
    Ok(fetched)
}

/// A local model file, and the kernels and devices that suit it on this machine.
#[derive(Debug)]
pub struct Prepared {
    /// The file and the name that users know it by.
    pub fetched: FetchedModel,
    kernels: Chosen,
    placement: Placement,
}

/// Fetches the models to serve together, checks their kernels and places their layers; `notes` receives the progress
/// where there is no terminal.
///
/// # Errors
///
/// When a model cannot be fetched or is damaged, when no kernels or devices work as configured, or when the models
/// together do not fit the memory.
pub fn prepare<'a>(
    names: impl Iterator<Item = &'a str>,
    options: &FetchOptions,
    config: &Config,
    notes: Notes<'_>,
) -> anyhow::Result<Vec<Prepared>> {
    let mut placer = Placer::new(config)?;
    let may_use_devices = placer.may_use_devices();
    let fetched: Vec<FetchedModel> =
        names.map(|name| fetch_model(name, options, notes)).collect::<anyhow::Result<_>>()?;
    let files: Vec<PathBuf> = fetched.iter().map(|one| one.path.clone()).collect();
    if !may_use_devices {
        footprint::ensure_fits(&files, config, 0)?;
    }
    let wanted = kernels::Wanted::of(config);
    let choose = |fetched: FetchedModel| {
        report_check(&fetched);
        let (kernels, placement) = kernels::choose_and_place(&fetched.path, &wanted, &mut placer)?;
        anyhow::Ok(Prepared { fetched, kernels, placement })
    };
    let prepared: Vec<Prepared> = fetched.into_iter().map(choose).collect::<anyhow::Result<_>>()?;
    if may_use_devices {
        // How much of the models is on devices is known only now.
        let on_devices = prepared.iter().map(|one| one.placement.bytes).sum();
        footprint::ensure_fits(&files, config, on_devices)?;
    }
    Ok(prepared)
}

fn report_check(fetched: &FetchedModel) {
    service_manager::starting(&format!("checking the kernels for {}", fetched.name));
}

/// Fetches and loads a model for a purpose other than serving, on the CPU only.
///
/// # Errors
///
/// As `fetch_model` and [`load_prepared`], and when no kernels work on this machine.
pub fn load_model(
    name: &str,
    options: &FetchOptions,
    wanted: &kernels::Wanted,
    notes: Notes<'_>,
) -> anyhow::Result<LoadedModel> {
    let fetched = fetch_model(name, options, notes)?;
    report_check(&fetched);
    let kernels = kernels::choose(&fetched.path, wanted)?;
    load_prepared(Prepared { fetched, kernels, placement: Placement::default() })
}

/// Fetches and loads a model for an engine with the given configuration.
///
/// # Errors
///
/// As [`prepare`] and [`load_prepared`].
pub fn load_model_to_run(
    name: &str,
    options: &FetchOptions,
    config: &Config,
    notes: Notes<'_>,
) -> anyhow::Result<LoadedModel> {
    let one =
        prepare(std::iter::once(name), options, config, notes)?.pop().context("one name gives one model")?;
    load_prepared(one)
}

/// Loads a local model file with the kernels and on the devices that suit it on this machine.
///
/// # Errors
///
/// When the engine does not support the model, or it does not fit its devices.
pub fn load_prepared(prepared: Prepared) -> anyhow::Result<LoadedModel> {
    let Prepared { fetched, kernels, placement: Placement { devices, gpu_layers, .. } } = prepared;
    let before_load = host::resident_bytes();
    let started = Instant::now();
    service_manager::starting(&format!("loading {}", fetched.name));
    let called = fetched.name.clone();
    let on_progress = move |part: f32| {
        service_manager::still_starting(|| format!("loading {called}: {:.0} %", part * 100.0));
    };
    let load = LoadOptions { gpu_layers, kernels: kernels.kernels, ..LoadOptions::default() };
    let model = LlamaModel::load_on(&fetched.path, &load, &devices, on_progress)
        .map_err(|error| hinted(&error, error.hint()))?;
    Ok(LoadedModel {
        model: Arc::new(model),
        name: fetched.name,
        path: fetched.path,
        kernels,
        load_ms: millis_since(started),
        memory: Memory { before_load, loaded: host::resident_bytes(), measured: None },
    })
}
