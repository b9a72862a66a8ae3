//! The precisions that a node is to serve, and the node that the core plans for.

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

use super::Speed;
use super::engines::Engines;
use crate::config::Config;
use crate::hint::hinted;
use crate::kernels::Chosen;
use crate::loading::LoadedModel;
use crate::profile::Known;

/// One precision to serve, in memory.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) model: Arc<LlamaModel>,
    /// Its file, to load it from again.
    pub(crate) path: PathBuf,
    /// What computes, and why.
    pub(crate) kernels: Chosen,
    /// How long loading its weights took.
    pub(crate) load: Span,
    pub(crate) speed: Speed,
    pub(crate) quality: Quality,
}

impl Variant {
    /// Makes a loaded model a precision to serve.
    pub(crate) fn of(loaded: LoadedModel, speed: Speed, quality: Quality) -> Self {
        let load = Span::from_millis(loaded.load_ms);
        Self { model: loaded.model, path: loaded.path, kernels: loaded.kernels, load, speed, quality }
    }
}

/// A precision whose engine was made and measured.
#[derive(Debug)]
pub(crate) struct Ready {
    name: String,
    weights: Bytes,
    quality: Quality,
    cost: MeasuredCost,
    load: Span,
    /// Whether there was room to keep it in memory.
    at_start: bool,
}

/// Makes an engine for each precision and finds out how fast it is. Those that do not fit the memory for weights
/// beside the ones before them are dropped again, until they are worth loading.
///
/// # Errors
///
/// When an engine cannot be made in the configured size or fails while it is measured, or when the memory for
/// weights does not suffice for the first precision, or for another beside it.
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

/// Memory for weights, as precisions are put into it one after the other.
struct Room {
    limit: Option<Bytes>,
    /// What the first one takes, which always stays.
    first: Option<Bytes>,
    held: Bytes,
}

impl Room {
    fn new(limit: Option<Bytes>) -> Self {
        Self { limit, first: None, held: Bytes::ZERO }
    }

    /// What the next precision takes, and whether there is room to keep it beside those before it.
    fn take(&mut self, info: &ModelInfo, options: &EngineOptions) -> anyhow::Result<(Bytes, bool)> {
        // The first one's cache is what requests are given shares of; the others' come on top.
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

/// A precision of which everything is known that a node has to know.
#[derive(Clone, Debug)]
pub(crate) struct Foreseen {
    pub(crate) info: ModelInfo,
    pub(crate) quality: Quality,
    pub(crate) cost: MeasuredCost,
    /// How long loading its weights takes.
    pub(crate) load: Span,
}

/// The node that would serve these precisions, without making an engine.
///
/// # Errors
///
/// When there are none, or the memory for weights does not suffice.
pub(crate) fn foresee(precisions: &[Foreseen], config: &Config) -> anyhow::Result<Node> {
    let options = crate::engine_setup::engine_options(config);
    let first = precisions.first().context("there is no precision")?;
    let mut room = Room::new(config.model.weights_limit);
    let mut ready = Vec::new();
    for Foreseen { info, quality, cost, load } in precisions {
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

/// The node as the core sees it.
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
        // Whoever has a place in llama.cpp's cache has all of it.
        kv_block: Tokens(1),
        cost: CostModel::Measured(ready[0].cost.clone()),
        max_parallel: limits.parallel,
        context: limits.context,
        prefill_chunk: config.engine.prefill_chunk,
        radio: None,
        wire: config.link.wire,
    };
    // The cache of running requests only: what is retained of ended ones lies beside it and is nobody's.
    node.memory = node.weights_memory() + limits.kv.bytes(shape.kv_per_token());
    node
}
