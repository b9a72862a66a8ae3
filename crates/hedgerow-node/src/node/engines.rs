//! The engines of a node with several precisions: one engine per precision; each request runs in one of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use hedgerow_core::engine::{Engine, EngineError, EngineLimits, GenerationTask, Step, StepReport, TokenSink};
use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{Device, EngineOptions, LlamaEngine, LlamaModel, LoadOptions, SharedPrefixes};
use hedgerow_workload::hint::hinted;
use self_cell::self_cell;

use crate::models;

self_cell!(
    /// An engine and the model that it borrows.
    struct Seated {
        owner: Arc<LlamaModel>,
        #[not_covariant]
        dependent: LlamaEngine,
    }
);

/// One precision: its file, and its engine while it is in memory.
struct EngineSlot {
    path: PathBuf,
    /// The devices that hold the offloaded layers, now and after a reload.
    devices: Vec<Device>,
    /// The options of the first load, reused for a reload.
    load: LoadOptions,
    /// The file's fingerprint at the start, if it may be reloaded: speed and quality are known for that file only.
    fingerprint: Option<String>,
    engine: Option<Seated>,
}

/// The engines, by precision.
pub(super) struct Engines {
    slots: Vec<EngineSlot>,
    options: EngineOptions,
    /// The precision of each open request.
    open: BTreeMap<RequestId, PrecisionIndex>,
}

impl Engines {
    /// Creates an empty set; each engine will be created with these options.
    pub(super) fn new(options: EngineOptions) -> Self {
        Self { slots: Vec::new(), options, open: BTreeMap::new() }
    }

    /// Adds a precision that is in memory already.
    ///
    /// # Errors
    ///
    /// When the KV cache does not fit the memory.
    pub(super) fn add(&mut self, path: PathBuf, model: Arc<LlamaModel>) -> anyhow::Result<PrecisionIndex> {
        let (devices, load) = (model.devices().to_vec(), model.load_options());
        let engine = Some(self.slot(model)?);
        self.slots.push(EngineSlot { path, devices, load, fingerprint: None, engine });
        Ok(PrecisionIndex(self.slots.len() - 1))
    }

    /// Stores the fingerprint of a precision's file, so that a changed file is rejected on reload.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(crate) fn note_file(&mut self, precision: PrecisionIndex) -> anyhow::Result<()> {
        let slot = &mut self.slots[precision.0];
        slot.fingerprint = Some(fingerprint(&slot.path)?);
        Ok(())
    }

    fn slot(&self, model: Arc<LlamaModel>) -> anyhow::Result<Seated> {
        Seated::try_new(model, |model| LlamaEngine::new(model, &self.options))
            .map_err(|error| hinted(&error, error.hint()))
    }

    /// Loads a precision from its file.
    ///
    /// # Errors
    ///
    /// When the file has changed since the start, or memory is insufficient.
    pub(super) fn load(&mut self, precision: PrecisionIndex) -> anyhow::Result<()> {
        let EngineSlot { path, devices, load, fingerprint: known, .. } = &self.slots[precision.0];
        if Some(fingerprint(path)?) != *known {
            return Err(hinted(
                format!("{} is another file than at the start, of unknown speed and quality", path.display()),
                "put the old file back, or start again with the new one",
            ));
        }
        let model =
            LlamaModel::load_on(path, load, devices, |_| {}).map_err(|error| hinted(&error, error.hint()))?;
        let engine = self.slot(Arc::new(model))?;
        self.slots[precision.0].engine = Some(engine);
        Ok(())
    }

    /// Frees a precision's weights and KV cache.
    pub(crate) fn unload(&mut self, precision: PrecisionIndex) {
        self.slots[precision.0].engine = None;
    }

    /// Runs `work` on the engine of one precision, to measure it.
    ///
    /// # Errors
    ///
    /// When the precision is not in memory, and the errors of `work`.
    pub(super) fn with<T>(
        &mut self,
        precision: PrecisionIndex,
        work: impl FnOnce(&mut dyn Engine) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let seated = self.slots.get_mut(precision.0).and_then(|slot| slot.engine.as_mut());
        let Some(seated) = seated else { anyhow::bail!("the precision is not in memory") };
        seated.with_dependent_mut(|_, engine| work(engine))
    }

    /// The limits of each engine; they are the same for all.
    pub(super) fn limits(&self) -> EngineLimits {
        let limits =
            |slot: &EngineSlot| Some(slot.engine.as_ref()?.with_dependent(|_, engine| engine.limits()));
        self.slots.iter().find_map(limits).expect("a node starts with an engine")
    }

    /// The prefix cache of the first engine in memory.
    pub(crate) fn prefixes(&self) -> SharedPrefixes {
        let prefixes =
            |slot: &EngineSlot| Some(slot.engine.as_ref()?.with_dependent(|_, engine| engine.prefixes()));
        self.slots.iter().find_map(prefixes).expect("a node starts with an engine")
    }

    /// As [`Engine::open`], at a precision.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub(super) fn open(
        &mut self,
        request: RequestId,
        precision: PrecisionIndex,
        work: GenerationTask,
    ) -> Result<(), EngineError> {
        self.at(precision, |engine| engine.open(request, work))?;
        self.open.insert(request, precision);
        Ok(())
    }

    /// As [`Engine::step`].
    ///
    /// # Errors
    ///
    /// As [`Engine::step`].
    pub(super) fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError> {
        let mut report = self.at(step.precision, |engine| engine.step(step, sink))?;
        for ended in report.progress.iter().filter(|progress| progress.end.is_some()) {
            self.open.remove(&ended.request);
        }
        report.kv_used = self.kv_used();
        Ok(report)
    }

    /// As [`Engine::close`].
    pub(crate) fn close(&mut self, request: RequestId) {
        if let Some(precision) = self.open.remove(&request) {
            let closed = self.at(precision, |engine| {
                engine.close(request);
                Ok(())
            });
            debug_assert!(closed.is_ok(), "a precision is not dropped while a request runs at it");
        }
    }

    /// Tokens in the KV caches of all engines.
    pub(crate) fn kv_used(&self) -> Tokens {
        let engines = self.slots.iter().filter_map(|slot| slot.engine.as_ref());
        engines.map(|seated| seated.with_dependent(|_, engine| engine.kv_used())).sum()
    }

    fn at<T>(
        &mut self,
        precision: PrecisionIndex,
        work: impl FnOnce(&mut dyn Engine) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let missing = || EngineError::Backend { what: "finding the precision in memory".into(), code: 0 };
        let seated =
            self.slots.get_mut(precision.0).and_then(|slot| slot.engine.as_mut()).ok_or_else(missing)?;
        seated.with_dependent_mut(|_, engine| work(engine))
    }
}

fn fingerprint(path: &Path) -> anyhow::Result<String> {
    models::fingerprint(path).with_context(|| format!("reading {}", path.display()))
}
