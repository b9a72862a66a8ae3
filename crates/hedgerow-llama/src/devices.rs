//! The devices of this build of llama.cpp: the CPU and the accelerators it was built for.

use hedgerow_core::units::Bytes;
use llama_cpp_2::{LlamaBackendDevice, LlamaBackendDeviceType};

use crate::{LlamaError, backend};

/// The accelerator features of this build; empty in the default build.
pub const ACCELERATORS: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "metal")]
    "metal",
    #[cfg(feature = "rocm")]
    "rocm",
    #[cfg(feature = "vulkan")]
    "vulkan",
];

/// The kind of a device, in llama.cpp's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CPU, with the machine's memory.
    Cpu,
    /// A GPU with its own memory.
    Gpu,
    /// A GPU that uses the machine's memory.
    IntegratedGpu,
    /// A coprocessor without its own memory (BLAS, AMX).
    Accelerator,
    /// A kind unknown to the binding.
    Unknown,
}

impl DeviceKind {
    /// Its short name: `cpu`, `gpu`, `igpu`, `accel`, `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::IntegratedGpu => "igpu",
            Self::Accelerator => "accel",
            Self::Unknown => "unknown",
        }
    }
}

/// A device, with its memory at the time of the call of [`devices`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index in llama.cpp.
    pub(crate) index: usize,
    /// Its name: `CPU`, `CUDA0`, `Vulkan1`.
    pub name: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Its backend: `CPU`, `CUDA`, `Vulkan`, `Metal`, `ROCm`.
    pub backend: String,
    /// Its product name.
    pub description: String,
    /// Its driver; `None` if neither the backend nor the system names it.
    pub driver: Option<String>,
    /// Its total memory; 0 if the driver does not report it.
    pub memory_total: Bytes,
    /// Its free memory; 0 if the driver does not report it.
    pub memory_free: Bytes,
}

impl Device {
    /// Whether layers of a model can be offloaded to it.
    pub fn holds_layers(&self) -> bool {
        match self.kind {
            DeviceKind::Gpu | DeviceKind::IntegratedGpu => true,
            DeviceKind::Cpu | DeviceKind::Accelerator | DeviceKind::Unknown => false,
        }
    }

    /// Whether it uses the machine's memory.
    pub fn shares_host_memory(&self) -> bool {
        // llama.cpp classifies Apple's processors as GPUs, although they use the machine's memory.
        let is_apple = ["Metal", "MTL"].contains(&self.backend.as_str());
        self.kind == DeviceKind::IntegratedGpu || (is_apple && cfg!(target_arch = "aarch64"))
    }
}

/// All devices, in llama.cpp's order.
///
/// # Errors
///
/// When llama.cpp cannot be initialized.
pub fn devices() -> Result<Vec<Device>, LlamaError> {
    let started = backend::started()?;
    let nvidia = nvidia_version(&std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default());
    let devices = llama_cpp_2::list_llama_ggml_backend_devices();
    Ok(devices.into_iter().map(|device| of(device, &started.vulkan_lines, nvidia.as_deref())).collect())
}

/// The devices that llama.cpp uses by default: all GPUs, or the first integrated one if there are no others.
pub fn default_devices(devices: &[Device]) -> Vec<Device> {
    let of_kind = |kind: DeviceKind| devices.iter().filter(move |device| device.kind == kind).cloned();
    let discrete: Vec<Device> = of_kind(DeviceKind::Gpu).collect();
    if discrete.is_empty() { of_kind(DeviceKind::IntegratedGpu).take(1).collect() } else { discrete }
}

fn of(device: LlamaBackendDevice, vulkan_lines: &[String], nvidia: Option<&str>) -> Device {
    let kind = match device.device_type {
        LlamaBackendDeviceType::Cpu => DeviceKind::Cpu,
        LlamaBackendDeviceType::Gpu => DeviceKind::Gpu,
        LlamaBackendDeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        LlamaBackendDeviceType::Accelerator => DeviceKind::Accelerator,
        LlamaBackendDeviceType::Unknown => DeviceKind::Unknown,
    };
    let of_vulkan =
        vulkan_lines.iter().find_map(|line| vulkan_driver(line, &device.name, &device.description));
    let is_nvidia = device.backend == "CUDA" || device.description.contains("NVIDIA");
    let of_nvidia = nvidia.filter(|_| is_nvidia).map(|version| format!("NVIDIA {version}"));
    let known: Vec<String> = of_nvidia.into_iter().chain(of_vulkan.map(str::to_owned)).collect();
    Device {
        index: device.index,
        kind,
        driver: (!known.is_empty()).then(|| known.join(" ")),
        memory_total: Bytes(device.memory_total as u64),
        memory_free: Bytes(device.memory_free as u64),
        name: device.name,
        backend: device.backend,
        description: device.description,
    }
}

/// Parses what ggml's Vulkan backend logs after a device's description: the driver's name, and the features by which
/// it chooses its kernels. `ggml_vulkan: 0 = llvmpipe (LLVM 15) (llvmpipe) | uma: 0 | fp16: 1 | …`
fn vulkan_driver<'a>(line: &'a str, name: &str, description: &str) -> Option<&'a str> {
    let number = name.strip_prefix("Vulkan")?;
    let rest = line.strip_prefix("ggml_vulkan: ")?.strip_prefix(number)?.strip_prefix(" = ")?;
    Some(rest.strip_prefix(description)?.trim())
}

/// Parses the driver version in `/proc/driver/nvidia/version`.
fn nvidia_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.contains('.')
            && word
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()))
    };
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: usize, kind: DeviceKind) -> Device {
        Device {
            index,
            name: format!("D{index}"),
            kind,
            backend: "Test".into(),
            description: String::new(),
            driver: None,
            memory_total: Bytes(0),
            memory_free: Bytes(0),
        }
    }

    #[test]
    fn integrated_gpus_are_used_only_without_discrete_ones() {
        use DeviceKind::{Accelerator, Cpu, Gpu, IntegratedGpu};
        let names = |kinds: &[DeviceKind]| -> Vec<usize> {
            let devices: Vec<Device> = (0..).zip(kinds).map(|(index, &kind)| device(index, kind)).collect();
            default_devices(&devices).iter().map(|device| device.index).collect()
        };
        assert_eq!(names(&[Cpu, Accelerator]), [0; 0]);
        assert_eq!(names(&[IntegratedGpu, Gpu, Cpu, Gpu]), [1, 3]);
        assert_eq!(names(&[IntegratedGpu, IntegratedGpu, Cpu]), [0]);
    }

    #[test]
    fn the_driver_is_what_vulkan_logs_after_the_description() {
        let line = "ggml_vulkan: 0 = llvmpipe (LLVM 15.0.6, 256 bits) (llvmpipe) | uma: 0 | fp16: 1";
        let of = |name: &str| vulkan_driver(line, name, "llvmpipe (LLVM 15.0.6, 256 bits)");
        assert_eq!(of("Vulkan0"), Some("(llvmpipe) | uma: 0 | fp16: 1"));
        assert_eq!([of("Vulkan1"), of("CUDA0")], [None, None]);
        assert_eq!(vulkan_driver("ggml_vulkan: Found 1 Vulkan devices:", "Vulkan0", ""), None);
    }

    #[test]
    fn the_version_of_nvidia_s_driver_is_the_first_number_with_dots() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version:  gcc 12.2.0\n";
        assert_eq!(nvidia_version(text).as_deref(), Some("535.54.03"));
        assert_eq!(nvidia_version(""), None);
    }

    #[test]
    fn this_machine_has_a_cpu_with_memory() {
        let devices = devices().unwrap();
        let cpu = devices.iter().find(|device| device.kind == DeviceKind::Cpu).unwrap();
        assert!(!cpu.holds_layers() && cpu.memory_total > Bytes::ZERO, "{cpu:?}");
    }
}
