//! Decides which layers of a model go to which devices.
//!
//! - takes: the operator's settings, the devices with their free memory, a model file's header
//! - gives: a [`Placement`]: the devices and the number of layers on all of them together
//! - never: loads a model, or allocates memory: llama.cpp does when it loads the model with the placement
//!
//! Read [`Placer::place`] first; the arithmetic is in `fit.rs`.

mod fit;
mod sizes;

use std::collections::BTreeMap;
use std::path::Path;

use fit::{Room, Sizes};
use hedgerow_llama::{ACCELERATORS, Device, EngineOptions, default_devices, devices};
use hedgerow_workload::hint::hinted;

use crate::config::{Config, DeviceChoice, GpuLayers};
use crate::host::{MemoryRoom, Root};
use crate::models;

/// The features of a build that can use accelerators.
const FEATURES: &str = "cuda, metal, rocm or vulkan";

/// The devices of a model's layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Empty if all layers stay on the CPU.
    pub devices: Vec<Device>,
    /// Number of layers on the devices, the output counted as one.
    pub gpu_layers: u32,
    /// Bytes that these layers take of memory that is not the machine's own.
    pub bytes: u64,
}

/// Places models one after the other on the same devices.
#[derive(Debug)]
pub struct Placer {
    gpu_layers: GpuLayers,
    device: DeviceChoice,
    options: EngineOptions,
    /// Memory of each device allocated to the models placed before.
    reserved: BTreeMap<String, Reserved>,
}

/// Memory of one device that is allocated to placed models.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    /// Free memory before the first placement.
    free_at_first: u64,
    /// Weights, caches and memory for steps.
    all: u64,
    /// The same without the weights, which are loaded immediately: the driver may already report their memory as
    /// used.
    later: u64,
}

impl Placer {
    /// Builds a placer for the engine that a configuration describes.
    ///
    /// # Errors
    ///
    /// When devices are named or layers are requested, in a build for the CPU alone.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let engine = &config.engine;
        if ACCELERATORS.is_empty() {
            // Only to name the devices in the error; otherwise a build for the CPU alone has none to list.
            let here = if let DeviceChoice::Named(_) = engine.device { here()? } else { Vec::new() };
            choose(&here, &engine.device, engine.gpu_layers)?;
        }
        Ok(Self {
            gpu_layers: engine.gpu_layers,
            device: engine.device.clone(),
            options: crate::engine_setup::engine_options(config),
            reserved: BTreeMap::new(),
        })
    }

    /// Whether layers may go to devices.
    pub(crate) fn may_use_devices(&self) -> bool {
        !ACCELERATORS.is_empty()
            && self.device != DeviceChoice::None
            && self.gpu_layers != GpuLayers::Count(0)
    }

    /// Whether the configuration names the number of layers on devices, so that fewer are an error.
    pub(crate) fn requires_devices(&self) -> bool {
        self.gpu_layers.asks_for_some()
    }

    /// Places the next model, whose file has been checked. This starts llama.cpp in this process, so its kernels must
    /// have run in a child process before.
    ///
    /// # Errors
    ///
    /// When a named device does not exist or cannot hold layers; when layers are requested and no device can hold
    /// them, or they do not fit; when the header cannot be read.
    pub fn place(&mut self, path: &Path) -> anyhow::Result<Placement> {
        if !self.may_use_devices() {
            return Ok(Placement::default());
        }
        let devices = choose(&here()?, &self.device, self.gpu_layers)?;
        if devices.is_empty() {
            return Ok(Placement::default());
        }
        let (summary, tensors) = (models::validate_gguf(path)?, models::read_tensors(path)?);
        let sizes = sizes::sizes(&summary, &tensors, &self.options);
        let rooms: Vec<Room> = devices.iter().map(|device| self.room(device)).collect();
        let gpu_layers = match self.gpu_layers {
            GpuLayers::Auto => fit::layers_that_fit(&sizes, &rooms),
            GpuLayers::All => sizes.layer_count(),
            GpuLayers::Count(count) => count.min(sizes.layer_count()),
        };
        check_room(&sizes, &devices, &rooms, gpu_layers)?;
        report(&sizes, &devices, gpu_layers);
        if gpu_layers == 0 {
            return Ok(Placement::default());
        }
        let (all, caches) = (sizes.on_devices(&rooms, gpu_layers), sizes.kv_on_devices(&rooms, gpu_layers));
        let apart = rooms.iter().zip(&all).filter(|(room, _)| !room.is_shared);
        let bytes = apart.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        for ((device, room), (all, cache)) in devices.iter().zip(&rooms).zip(all.into_iter().zip(caches)) {
            let first = Reserved { free_at_first: room.free, all: 0, later: 0 };
            let reserved = self.reserved.entry(device.name.clone()).or_insert(first);
            reserved.all = reserved.all.saturating_add(all).saturating_add(sizes.compute);
            reserved.later = reserved.later.saturating_add(cache).saturating_add(sizes.compute);
        }
        Ok(Placement { devices, gpu_layers, bytes })
    }

    fn room(&self, device: &Device) -> Room {
        let machine = MemoryRoom::read(&Root::system()).map_or(u64::MAX, |room| room.bytes);
        // Some drivers do not report their memory; llama.cpp then assumes the machine's memory.
        let (total, reported_free) = match (device.memory_total.0, device.memory_free.0) {
            (0, 0) => (machine, machine),
            said => said,
        };
        let is_shared = device.shares_host_memory();
        let there = if is_shared { reported_free.min(machine) } else { reported_free };
        let free = self.reserved.get(&device.name).map_or(there, |reserved| {
            let by_driver = there.saturating_sub(reserved.later);
            by_driver.min(reserved.free_at_first.saturating_sub(reserved.all))
        });
        Room { total, reported_free, free, is_shared }
    }
}

fn here() -> anyhow::Result<Vec<Device>> {
    devices().map_err(|error| hinted(&error, error.hint()))
}

/// Returns the devices that layers may go to.
fn choose(here: &[Device], choice: &DeviceChoice, layers: GpuLayers) -> anyhow::Result<Vec<Device>> {
    let list =
        || here.iter().map(|device| format!("{} ({})", device.name, device.description)).collect::<Vec<_>>();
    let chosen = match choice {
        DeviceChoice::None => Vec::new(),
        DeviceChoice::Default => default_devices(here),
        DeviceChoice::Named(names) => names
            .iter()
            .map(|name| {
                let found = here.iter().find(|device| device.name.eq_ignore_ascii_case(name));
                let found = found.filter(|device| device.holds_layers()).cloned();
                found.ok_or_else(|| {
                    hinted(
                        format!(
                            "`engine.device` names `{name}`, which is no accelerator here; the devices are {}",
                            list().join(", ")
                        ),
                        how_to_get_one("name one of type gpu or igpu in `hedgerow serve --list-devices`, or none"),
                    )
                })
            })
            .collect::<anyhow::Result<_>>()?,
    };
    if chosen.is_empty() && layers.asks_for_some() {
        return Err(hinted(
            format!(
                "`engine.gpu_layers` asks for layers on an accelerator, but {}",
                if ACCELERATORS.is_empty() {
                    "this program was built for the CPU alone".to_owned()
                } else {
                    format!("none is here that this program can use; the devices are {}", list().join(", "))
                }
            ),
            how_to_get_one("check the driver, or set --gpu-layers to 0"),
        ));
    }
    Ok(chosen)
}

/// Returns the hint, which differs where the build lacks accelerator support.
fn how_to_get_one(otherwise: &str) -> String {
    if ACCELERATORS.is_empty() {
        format!(
            "build it with a feature ({FEATURES}), as in `cargo xtask build --features vulkan`; see docs/guides/accelerators.md"
        )
    } else {
        otherwise.to_owned()
    }
}

/// Returns an error if the layers do not fit even without memory for a step: llama.cpp would fail, or the driver
/// would use the machine's memory and be slow.
fn check_room(sizes: &Sizes, devices: &[Device], rooms: &[Room], gpu_layers: u32) -> anyhow::Result<()> {
    let taken = sizes.on_devices(rooms, gpu_layers);
    let full = devices.iter().zip(rooms).zip(taken).find(|((_, room), taken)| *taken > room.free);
    let Some(((device, room), taken)) = full else { return Ok(()) };
    let mib = |bytes: u64| bytes >> 20;
    Err(hinted(
        format!(
            "{gpu_layers} of {} layers and their cache take {} MiB of {}, which has {} MiB free",
            sizes.layer_count(),
            mib(taken),
            device.name,
            mib(room.free)
        ),
        format!(
            "set --gpu-layers to auto (now {}), or lower --ctx-size or --parallel",
            fit::layers_that_fit(sizes, rooms)
        ),
    ))
}

fn report(sizes: &Sizes, devices: &[Device], gpu_layers: u32) {
    let names: Vec<String> =
        devices.iter().map(|device| format!("{} ({})", device.name, device.description)).collect();
    let all = sizes.layer_count();
    tracing::info!("{gpu_layers} of {all} layers go to {}", names.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(choice: &str, layers: GpuLayers) -> String {
        let chosen = choose(&here().unwrap(), &DeviceChoice::from(choice), layers);
        chosen.map(|chosen| format!("{chosen:?}")).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn an_unknown_device_is_answered_with_those_that_are_here() {
        let error = error_of("Vulkan99", GpuLayers::Auto);
        assert!(
            error.starts_with("`engine.device` names `Vulkan99`, which is no accelerator here"),
            "{error}"
        );
        assert!(error.contains("the devices are ") && error.contains("CPU ("), "{error}");
        let error = error_of("CPU,Vulkan99", GpuLayers::Auto);
        assert!(
            error.contains("names `CPU`, which is no accelerator"),
            "the CPU holds what is left: {error}"
        );
    }

    #[test]
    fn layers_without_a_device_to_hold_them_are_refused() {
        for layers in [GpuLayers::All, GpuLayers::Count(3)] {
            let refused = choose(&[], &DeviceChoice::Default, layers).unwrap_err().to_string();
            assert!(
                refused.starts_with("`engine.gpu_layers` asks for layers on an accelerator, but "),
                "{refused}"
            );
        }
        for layers in [GpuLayers::Auto, GpuLayers::Count(0)] {
            assert_eq!(choose(&[], &DeviceChoice::Default, layers).unwrap(), []);
        }
    }

    #[test]
    fn what_cannot_fit_is_refused_with_what_would() {
        let Ok(here) = here() else { return };
        let sizes = Sizes { layers: vec![1 << 30; 4], output: 0, input: 0, kv_per_layer: 0, compute: 0 };
        let free = (2 << 30) + (1 << 29);
        let room = Room { total: free, reported_free: free, free, is_shared: false };
        let check = |count| check_room(&sizes, &here[..1], &[room], count);
        assert!(check(3).is_ok());
        let refused = check(5).unwrap_err().to_string();
        assert!(refused.starts_with("5 of 5 layers and their cache take 4096 MiB of "), "{refused}");
    }
}
