//! Checks the model files: presence and integrity, kernels, memory and measured speed.

use super::{Examined, Finding, find};
use crate::config::Config;
use crate::footprint;
use crate::host::MemoryRoom;
use crate::kernels::{self, Wanted};
use crate::models::fingerprint;
use crate::models::{self, FetchOptions, FetchedModel, known_sha256};
use crate::placement::{Placement, Placer};
use crate::profile::ResultStore;

/// Finds the configured model and its other precisions.
pub(super) fn files(config: &Config, options: &FetchOptions) -> (Vec<Finding>, Vec<FetchedModel>) {
    let names = [&config.model.name].into_iter().chain(config.model.also.iter().map(|also| &also.name));
    let (mut findings, mut models) = (Vec::new(), Vec::new());
    for name in names {
        let found = find(name, options).and_then(|model| {
            models::validate_gguf(&model.path)?;
            Ok(model)
        });
        match found {
            Ok(model) => {
                findings.push(file(&model, options.verify));
                models.push(model);
            }
            Err(error) => findings.push(Finding::of_error("model", &error)),
        }
    }
    (findings, models)
}

fn file(model: &FetchedModel, is_verified: bool) -> Finding {
    let place = model.path.display();
    let found = match (known_sha256(&model.path), &model.sha256) {
        (Some(_), _) => format!("{place}: its checksum was compared and it has not changed since"),
        (None, Some(sha256)) if is_verified => {
            format!("{place}: sha256 {sha256}, with nothing to compare it with")
        }
        (None, _) => format!("{place}: its header is whole; --verify reads all of it"),
    };
    Finding::ok("model", found)
}

/// Checks whether the fast kernels, and devices that layers are placed on, compute correctly here: by the saved
/// verdict, or a check now.
pub(super) fn kernels(examined: &Examined<'_>) -> Vec<Finding> {
    let wanted = Wanted::of(examined.config);
    let mut placer = match Placer::new(examined.config) {
        Ok(placer) => placer,
        Err(error) => return vec![Finding::of_error("kernels", &error)],
    };
    let one = |model: &FetchedModel| {
        let (chosen, placement) = match kernels::choose_and_place(&model.path, &wanted, &mut placer) {
            Ok(chosen) => chosen,
            Err(error) => return Finding::of_error("kernels", &error),
        };
        let found =
            format!("the {} ones for {}{}", chosen.kernels.name(), model.name, on_devices(&placement));
        match chosen.detail {
            Some(why) => Finding::warning(
                "kernels",
                format!("{found}: {why}"),
                "for the CPU, build hedgerow on this machine with another compiler, or use a build with the feature \
                 `portable`; for a device, update its driver",
            ),
            None => Finding::ok("kernels", format!("{found} ({})", chosen.reason)),
        }
    };
    examined.models.iter().map(one).collect()
}

/// Formats the layers on devices: `, 31 layers on Vulkan0`.
fn on_devices(placement: &Placement) -> String {
    let names: Vec<&str> = placement.devices.iter().map(|device| device.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(", {} layers on {}", placement.gpu_layers, names.join(", "))
}

/// Checks whether all models fit the available memory.
pub(super) fn memory(examined: &Examined<'_>) -> Vec<Finding> {
    let Some(room) = MemoryRoom::read(&examined.root) else {
        return vec![Finding::ok("memory", "this system does not say how much is left")];
    };
    let left = format!("{} left: {}", super::mb(room.bytes), room.limit);
    let files: Vec<_> = examined.models.iter().map(|model| model.path.clone()).collect();
    // The part in the memory of accelerators is known only when the model is placed.
    vec![match footprint::fitting(&files, examined.config, 0, &room) {
        Ok(_) if files.is_empty() => Finding::ok("memory", left),
        Ok(parts) => Finding::ok(
            "memory",
            format!("{left}; the configured models take at most {}", super::mb(parts.total())),
        ),
        Err(error) => Finding::of_error("memory", &error),
    }]
}

/// Checks whether each model's speed was measured, and on a quiet machine.
pub(super) fn speed(examined: &Examined<'_>) -> Vec<Finding> {
    let Ok(folder) = models::cache_folder() else { return Vec::new() };
    let saved = ResultStore::new(folder.join("profiles")).all();
    let one = |model: &FetchedModel| {
        let Ok(print) = fingerprint(&model.path) else { return None };
        let of_model: Vec<_> =
            saved.iter().filter(|profile| profile.subject.model.fingerprint == print).collect();
        Some(match of_model.iter().find(|profile| profile.disturbed.is_some()) {
            Some(_) => Finding::warning(
                "speed",
                format!("{} was measured beside other work", model.name),
                "the next start on a quiet machine measures it again; so does `hedgerow profile --force`",
            ),
            None if of_model.is_empty() => {
                Finding::ok("speed", format!("{} is not measured yet; the first start does", model.name))
            }
            None => Finding::ok("speed", format!("{} is measured", model.name)),
        })
    };
    examined.models.iter().filter_map(one).collect()
}
