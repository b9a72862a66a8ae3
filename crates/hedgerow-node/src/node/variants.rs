//! The precisions of a node, and the node description that the core plans with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_core::engine::{CostModel, EngineLimits};
use hedgerow_core::node::{ModelShape, Node};
use hedgerow_core::quantization::{Precision, PrecisionIndex, Residency};
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bytes, Quality, Tokens};
use hedgerow_llama::{EngineOptions, LlamaModel, ModelInfo};
use hedgerow_workload::hint::hinted;

use super::Speed;
use super::engines::Engines;
use crate::config::Config;
use crate::kernels::Chosen;
use crate::loading::LoadedModel;
use crate::profile::Known;

/// One loaded precision to serve.
#[derive(Debug)]
pub struct Variant {
    /// The weights and vocabulary in memory, from which its engine is created.
    pub model: Arc<LlamaModel>,
    /// The model file, for a reload.
    pub path: PathBuf,
    /// The chosen kernels and the reason.
    pub kernels: Chosen,
    /// Time that loading the weights took.
    pub load: Span,
    /// Where its step times come from: a known cost model or a profile.
    pub speed: Speed,
    /// Its quality relative to the reference precision, 0 to 1.
    pub quality: Quality,
}

impl Variant {
    /// Creates a variant from a loaded model.
    pub fn of(loaded: LoadedModel, speed: Speed, quality: Quality) -> Self {
        let load = Span::from_millis(loaded.load_ms);
        Self { model: loaded.model, path: loaded.path, kernels: loaded.kernels, load, speed, quality }
    }
}

/// A precision whose engine has been created and measured.
#[derive(Debug)]
pub(super) struct Ready {
    name: String,
    weights: Bytes,
    quality: Quality,
    cost: MeasuredCost,
    load: Span,
    /// Whether the weights fit and stay in memory at the start.
    at_start: bool,
}

/// Creates an engine for each precision and determines its step times. A precision that does not fit the weights
/// memory beside the earlier ones is unloaded again; the scheduler loads it on demand.
///
/// # Errors
///
/// When an engine cannot be created in the configured size or fails while it is measured, or when the weights memory
/// is too small for the first precision, or for the first and one other together.
pub(super) fn prepare(
    variants: Vec<Variant>,
    options: EngineOptions,
    limit: Option<Bytes>,
) -> anyhow::Result<(Engines, Vec<Ready>)> {
    let mut engines = Engines::new(options);
    let mut ready: Vec<Ready> = Vec::new();
    let mut room = Room::new(limit);
    for Variant { model, path, load, speed, quality, .. } in variants {
        let (info, started) = (model.info().clone(), Instant::now());
        let (weights, at_start) = room.take(&info, &options)?;
        let precision = engines.add(path, model)?;
        if limit.is_some() {
            engines.note_file(precision)?;
        }
        let load = load + Span::from_seconds(started.elapsed().as_secs_f64());
        let cost = measured(speed, &mut engines, precision)?;
        if !at_start {
            engines.unload(precision);
        }
        ready.push(Ready { name: info.precision, weights, quality, cost, load, at_start });
    }
    Ok((engines, ready))
}

/// The weights memory, filled with one precision after the other.
struct Room {
    limit: Option<Bytes>,
    /// Memory of the first precision, which always stays loaded.
    first: Option<Bytes>,
    held: Bytes,
}

impl Room {
    fn new(limit: Option<Bytes>) -> Self {
        Self { limit, first: None, held: Bytes::ZERO }
    }

    /// Returns the memory of the next precision, and whether it fits beside the earlier ones.
    fn take(&mut self, info: &ModelInfo, options: &EngineOptions) -> anyhow::Result<(Bytes, bool)> {
        // The first precision's KV cache is the memory that the scheduler allocates; those of the others are added.
        let shape = ModelShape { kv_type: options.kv_type, ..info.shape };
        let cache = options.cache().bytes(shape.kv_per_token());
        let weights = if self.first.is_none() { info.weights } else { info.weights + cache };
        let needed = self.first.map_or(weights, |first| first + weights);
        if let Some(limit) = self.limit.filter(|&limit| limit < needed) {
            return Err(hinted(
                format!(
                    "{} needs {needed} of memory for weights, more than `model.weights_gb`: {limit}",
                    info.precision
                ),
                "raise --weights-gb, lower --ctx-size, or leave the precision out; the first one always stays in memory",
            ));
        }
        self.first.get_or_insert(weights);
        let at_start = self.limit.is_none_or(|limit| self.held + weights <= limit);
        if at_start {
            self.held = self.held + weights;
        }
        Ok((weights, at_start))
    }
}

/// The properties of a precision that a node description needs.
#[derive(Clone, Debug)]
pub struct PlannedVariant {
    /// Its name, size and dimensions, as read from the model file.
    pub info: ModelInfo,
    /// Its quality relative to the reference precision, 0 to 1.
    pub quality: Quality,
    /// Its step times, as measured in the configured setup.
    pub cost: MeasuredCost,
    /// Time to load the weights.
    pub load: Span,
}

/// Describes the node that would serve these precisions, without creating an engine.
///
/// # Errors
///
/// When there is no precision, or the weights memory is too small.
pub fn node_of(precisions: &[PlannedVariant], config: &Config) -> anyhow::Result<Node> {
    let options = crate::engine_setup::engine_options(config);
    let first = precisions.first().context("there is no precision")?;
    let mut room = Room::new(config.model.weights_limit);
    let mut ready = Vec::new();
    for PlannedVariant { info, quality, cost, load } in precisions {
        let (weights, at_start) = room.take(info, &options)?;
        let (name, cost) = (info.precision.clone(), cost.clone());
        ready.push(Ready { name, weights, quality: *quality, cost, load: *load, at_start });
    }
    Ok(describe(&first.info, &ready, config, options.limits()))
}

fn measured(speed: Speed, engines: &mut Engines, precision: PrecisionIndex) -> anyhow::Result<MeasuredCost> {
    let profiler = match speed {
        Speed::Known(cost) => return Ok(*cost),
        Speed::Profile(profiler) => profiler,
    };
    let known = engines.with(precision, |engine| profiler.profile(engine))?;
    let path = profiler.path();
    match known {
        Known { is_new: false, .. } => tracing::info!("its speed is known from {}", path.display()),
        Known { is_saved: true, .. } => tracing::info!("its speed is measured; saved as {}", path.display()),
        Known { .. } => {}
    }
    Ok(known.profile.cost)
}

/// Builds the core's description of the node.
pub(super) fn describe(info: &ModelInfo, ready: &[Ready], config: &Config, limits: EngineLimits) -> Node {
    let shape = ModelShape { kv_type: config.engine.kv_type, ..info.shape };
    let limit = config.model.weights_limit;
    let residency = |index: usize, &Ready { load, at_start, .. }: &Ready| match limit {
        Some(_) if index > 0 => Residency::OnDemand { load, at_start },
        Some(_) | None => Residency::Always,
    };
    let precisions: Vec<Precision> = ready
        .iter()
        .enumerate()
        .map(|(index, ready)| Precision {
            name: ready.name.clone(),
            weights: ready.weights,
            beta_prefill: 1.0,
            beta_decode: 1.0,
            quality: ready.quality,
            residency: residency(index, ready),
            measured: (index > 0).then(|| ready.cost.clone()),
        })
        .collect();
    let mut node = Node {
        memory: Bytes::ZERO,
        model: shape,
        precisions,
        weights_limit: limit,
        // llama.cpp's KV cache is allocated per token.
        kv_block: Tokens(1),
        cost: CostModel::Measured(ready[0].cost.clone()),
        max_parallel: limits.parallel,
        context: limits.context,
        prefill_chunk: config.engine.prefill_chunk,
        radio: None,
        wire: config.link.wire,
    };
    // The KV cache of running requests only; retained prefixes of ended requests lie outside it.
    node.memory = node.weights_memory() + limits.kv.bytes(shape.kv_per_token());
    node
}
