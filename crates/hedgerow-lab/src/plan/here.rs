//! This machine: the nodes that `hedgerow serve` would build from the model's precisions, by their saved profiles.

use std::path::PathBuf;

use hedgerow_core::node::Node;
use hedgerow_core::time::Span;
use hedgerow_core::units::Bytes;
use hedgerow_node::catalogue::Entry;
use hedgerow_node::config::Config;
use hedgerow_node::console::Notes;
use hedgerow_node::host::{MemoryRoom, Root};
use hedgerow_node::loading;
use hedgerow_node::models::FetchOptions;
use hedgerow_node::node::{self, PlannedVariant};
use hedgerow_node::profile::Profiler;
use hedgerow_workload::hint::hinted;

use super::{Held, PromptTokens};

/// The precisions that this machine could hold.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    config: Config,
    planned: Vec<PlannedVariant>,
    held: Vec<Held>,
    files: Vec<PathBuf>,
    /// The files of precisions that are here but were not measured in this setup.
    pub(crate) unmeasured: Vec<PathBuf>,
    pub(crate) prompt_tokens: PromptTokens,
}

impl Here {
    /// Finds those of the given precisions that were measured in the configured setup.
    ///
    /// # Errors
    ///
    /// When there is none, or a model file cannot be used.
    pub(crate) fn find(
        entries: &[Entry],
        config: &Config,
        options: &FetchOptions,
        notes: Notes<'_>,
    ) -> anyhow::Result<Self> {
        let mut here = Self {
            config: config.clone(),
            planned: Vec::new(),
            held: Vec::new(),
            files: Vec::new(),
            unmeasured: Vec::new(),
            prompt_tokens: PromptTokens::BARE,
        };
        for entry in entries {
            let file = &entry.facts.file;
            // Each is loaded alone, as `hedgerow profile` measured it.
            let loaded = loading::load_model_to_run(&file.display().to_string(), options, config, notes)?;
            let Some(profile) = Profiler::new(&loaded, config)?.saved() else {
                here.unmeasured.push(file.clone());
                continue;
            };
            if here.planned.is_empty() {
                here.prompt_tokens = PromptTokens::of(&loaded.model)?;
            }
            let info = loaded.model.info().clone();
            let quality = entry.quality_by_perplexity.clone();
            let held = Held { name: info.precision.clone(), weights: info.weights, quality };
            here.planned.push(PlannedVariant {
                info,
                quality: held.known_quality(),
                cost: profile.cost,
                load: Span::from_millis(loaded.load_ms),
            });
            here.held.push(held);
            here.files.push(file.clone());
        }
        match here.unmeasured.first() {
            Some(file) if here.held.is_empty() => Err(hinted(
                format!(
                    "{} was not measured on this machine for {} requests of {} at once",
                    file.display(),
                    config.engine.parallel,
                    config.engine.context
                ),
                format!("`hedgerow profile {}` with the same flags measures it", file.display()),
            )),
            Some(_) | None => Ok(here),
        }
    }

    /// Every precision that was measured.
    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Returns the node that `hedgerow serve` would build for a set.
    ///
    /// # Errors
    ///
    /// When there is not enough memory for the weights.
    pub(crate) fn node(&self, set: &[usize]) -> anyhow::Result<Node> {
        let planned: Vec<PlannedVariant> = set.iter().map(|&index| self.planned[index].clone()).collect();
        node::node_of(&planned, &self.config)
    }

    /// Returns the command that serves a set.
    pub(crate) fn command(&self, set: &[usize]) -> String {
        let file = |index: &usize| self.files[*index].display().to_string();
        let mut command = format!("hedgerow serve {}", set.first().map(file).unwrap_or_default());
        let also: Vec<String> = set
            .iter()
            .skip(1)
            .map(|index| format!("{}={}", file(index), self.held[*index].known_quality()))
            .collect();
        if !also.is_empty() {
            command += &format!(" --also {}", also.join(","));
        }
        command
    }

    /// Returns the memory for weights and caches: what is free now.
    pub(crate) fn memory() -> Bytes {
        Bytes(MemoryRoom::read(&Root::system()).map_or(u64::MAX, |room| room.bytes))
    }
}
