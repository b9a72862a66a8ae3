//! Layers on devices: how they are named in a check, and what follows from its verdict.

use std::fmt;

use hedgerow_llama::Device;
use hedgerow_workload::hint::hinted;
use serde::{Deserialize, Serialize};

use super::Chosen;
use super::verdict::{Failure, Verdict};
use crate::config::KernelChoice;
use crate::placement::Placement;

/// The layers of a model that are computed on devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offload {
    devices: Vec<OffloadDevice>,
    /// Number of layers on all devices together, the output counted as one.
    gpu_layers: u32,
}

/// A device, by what determines its kernels. The name tells two devices of the same kind apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OffloadDevice {
    name: String,
    description: String,
    /// `None` where neither the backend nor the system names it.
    driver: Option<String>,
}

impl Offload {
    /// Returns the layers that a placement puts on devices; `None` if all stay on the CPU.
    pub(super) fn of(placement: &Placement) -> Option<Self> {
        let device = |device: &Device| OffloadDevice {
            name: device.name.clone(),
            description: device.description.clone(),
            driver: device.driver.clone(),
        };
        let devices: Vec<OffloadDevice> = placement.devices.iter().map(device).collect();
        (!devices.is_empty()).then_some(Self { devices, gpu_layers: placement.gpu_layers })
    }

    /// The arguments of a trial with these layers on these devices.
    pub(super) fn arguments(&self) -> [String; 4] {
        let names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
        ["--gpu-layers".to_owned(), self.gpu_layers.to_string(), "--device".to_owned(), names.join(",")]
    }

    /// Describes the drivers of the devices.
    pub(super) fn drivers(&self) -> String {
        let drivers: Vec<&str> =
            self.devices.iter().map(|device| device.driver.as_deref().unwrap_or("not known")).collect();
        format!("driver: {}", drivers.join("; "))
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices: Vec<String> =
            self.devices.iter().map(|device| format!("{} ({})", device.name, device.description)).collect();
        let layers = if self.gpu_layers == 1 { "layer" } else { "layers" };
        write!(f, "{} {layers} on {}", self.gpu_layers, devices.join(", "))
    }
}

/// Leaves all layers on the CPU because plain kernels compute only there.
pub(super) fn all_on_the_cpu(chosen: Chosen, is_required: bool) -> anyhow::Result<(Chosen, Placement)> {
    if !is_required {
        return Ok((chosen, Placement::default()));
    }
    let why = chosen.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    Err(hinted(
        format!(
            "`engine.gpu_layers` asks for layers on an accelerator, but the plain kernels are used, which compute on \
             the CPU alone{why}"
        ),
        "set --gpu-layers to 0 or auto, or --kernels to fast, which uses the fast ones whatever their check finds",
    ))
}

/// Turns the verdict on a placement into the placement to load the model with: the same one, or the CPU alone with the
/// kernels `chosen` for it. `is_required` says that the configuration names the number of layers.
pub(super) fn settle(
    verdict: &Verdict,
    choice: KernelChoice,
    is_required: bool,
    chosen: Chosen,
    placement: Placement,
) -> anyhow::Result<(Chosen, Placement)> {
    let Some(failure) = verdict.first_failure() else {
        tracing::info!(took_ms = verdict.took_ms, "the layers on devices agree with the plain kernels");
        return Ok((chosen, placement));
    };
    let why = Chosen { reason: failure.kind.name(), detail: Some(failure.to_string()), ..chosen };
    if choice == KernelChoice::Fast {
        tracing::warn!("{failure}; the layers stay there all the same, because `engine.kernels` is `fast`");
        return Ok((why, placement));
    }
    if is_required {
        return Err(hinted(
            format!("the layers that `engine.gpu_layers` asks for did not pass their check: {failure}"),
            format!(
                "set --gpu-layers to 0, or to auto, which then leaves them on the CPU; {}",
                remedy(failure)
            ),
        ));
    }
    tracing::error!("{failure}; all layers stay on the CPU. Way out: {}", remedy(failure));
    Ok((why, Placement::default()))
}

/// What an operator can do about the failure of a device.
fn remedy(failure: &Failure) -> &'static str {
    if failure.kind.is_of_kernels() {
        "update the device's driver, or name another device with --device; --kernels fast uses it all the same"
    } else {
        "start again when machine and device have memory and time to spare; --kernels fast uses the device all the same"
    }
}

#[cfg(test)]
pub(super) mod tests {
    use hedgerow_llama::Kernels;

    use super::super::verdict::FailureKind;
    use super::super::verdict::tests::verdict;
    use super::*;
    use crate::errors;

    pub(in crate::kernels) fn offload() -> Offload {
        let device = OffloadDevice {
            name: "Vulkan0".into(),
            description: "Test GPU".into(),
            driver: Some("Test driver".into()),
        };
        Offload { devices: vec![device], gpu_layers: 31 }
    }

    fn chosen() -> Chosen {
        Chosen { kernels: Kernels::Fast, reason: "checked", detail: None }
    }

    fn placement() -> Placement {
        Placement { devices: Vec::new(), gpu_layers: 31, bytes: 1 << 20 }
    }

    /// Settles the verdict on a device that crashed.
    fn settled(choice: KernelChoice, is_required: bool) -> anyhow::Result<(Chosen, Placement)> {
        settle(&verdict(), choice, is_required, chosen(), placement())
    }

    #[test]
    fn layers_that_passed_stay_on_their_device() {
        let mut passed = verdict();
        passed.trials[1].failure = None;
        let settled = settle(&passed, KernelChoice::Auto, true, chosen(), placement()).unwrap();
        assert_eq!(settled, (chosen(), placement()));
    }

    #[test]
    fn layers_that_failed_stay_on_the_cpu_with_its_fast_kernels_and_the_reason_is_kept() {
        let (kernels, placement) = settled(KernelChoice::Auto, false).unwrap();
        assert_eq!((kernels.kernels, kernels.reason), (Kernels::Fast, "signal"));
        assert!(kernels.detail.unwrap().contains("SIGILL"));
        assert_eq!(placement, Placement::default());
    }

    #[test]
    fn required_layers_that_failed_are_an_error_with_a_way_out() {
        let error = settled(KernelChoice::Auto, true).unwrap_err();
        assert!(error.to_string().contains("`engine.gpu_layers`") && error.to_string().contains("SIGILL"));
        let hint = errors::hint_of(&error).unwrap();
        assert!(hint.contains("--gpu-layers to 0") && hint.contains("--kernels fast"), "{hint}");
        let mut unchecked = verdict();
        unchecked.trials[1].failure.as_mut().unwrap().kind = FailureKind::TimedOut;
        let error = settle(&unchecked, KernelChoice::Auto, true, chosen(), placement()).unwrap_err();
        assert!(errors::hint_of(&error).unwrap().contains("start again"));
    }

    #[test]
    fn layers_that_failed_stay_on_their_device_only_where_the_fast_kernels_are_asked_for() {
        let (kernels, settled) = settled(KernelChoice::Fast, true).unwrap();
        assert_eq!((kernels.reason, settled), ("signal", placement()));
    }

    #[test]
    fn plain_kernels_leave_layers_on_the_cpu_unless_they_are_required() {
        let plain = Chosen { kernels: Kernels::Plain, reason: "asked", detail: None };
        let (kernels, placement) = all_on_the_cpu(plain.clone(), false).unwrap();
        assert_eq!((kernels, placement), (plain.clone(), Placement::default()));
        let error = all_on_the_cpu(plain, true).unwrap_err();
        assert!(error.to_string().contains("the plain kernels"), "{error}");
    }

    #[test]
    fn layers_and_devices_are_named_for_people_and_for_a_trial() {
        let mut offload = offload();
        assert_eq!(offload.to_string(), "31 layers on Vulkan0 (Test GPU)");
        let other = OffloadDevice { name: "Vulkan1".into(), driver: None, ..offload.devices[0].clone() };
        offload.devices.push(other);
        offload.gpu_layers = 1;
        assert_eq!(offload.to_string(), "1 layer on Vulkan0 (Test GPU), Vulkan1 (Test GPU)");
        assert_eq!(offload.arguments(), ["--gpu-layers", "1", "--device", "Vulkan0,Vulkan1"]);
        assert_eq!(offload.drivers(), "driver: Test driver; not known");
        assert_eq!(Offload::of(&Placement::default()), None);
    }
}
