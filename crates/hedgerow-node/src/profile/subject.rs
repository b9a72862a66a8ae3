//! The subject of a profile: this machine, this model file, this setup of the engine.

use std::path::Path;

use anyhow::Context as _;
use hedgerow_core::node::KvType;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{Device, EngineOptions, Kernels, LlamaModel};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::build_version::version;
use crate::host::Machine;
use crate::models::{fingerprint, hex};

/// The key of a profile: step times may differ where any of these differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The processor, and the number of its cores that the process may use.
    pub machine: Machine,
    /// The model file, identified by its fingerprint.
    pub model: ModelFile,
    /// The versions and settings of the engine.
    pub engine: EngineSetup,
}

/// The model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// The model's name in the file.
    pub name: String,
    /// Type of its weights, such as `Q4_1`; `unknown` if the file does not name it.
    pub precision: String,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// See [`fingerprint`].
    pub fingerprint: String,
}

/// The engine's versions and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSetup {
    /// Version of the program.
    pub version: String,
    /// Version of the binding that includes llama.cpp.
    pub(crate) llama_cpp: String,
    /// Maximum number of open requests.
    pub parallel: u32,
    /// Maximum tokens per request.
    pub context: u32,
    /// Number of threads that compute a step.
    pub threads: u32,
    /// Maximum tokens of one pass through the model.
    pub micro_batch: u32,
    /// Maximum prompt tokens in one step.
    pub prefill_chunk: u32,
    /// Whether all requests share one KV cache; otherwise each has its own.
    pub kv_unified: bool,
    /// Whether attention is computed without storing the attention matrix (flash attention).
    pub flash_attention: bool,
    /// Storage type of the cache. Omitted for the type that was used before it became configurable.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub kv_type: KvType,
    /// The accelerators in use. Omitted where there are none, as before they were supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerators: Option<Accelerators>,
    /// The kernels, where they are not the fast ones: `plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// Variant of the CPU kernels, in builds that have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_variant: Option<String>,
}

/// The accelerators that compute a part of each step, and the number of layers on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerators {
    /// The devices, in the order in which layers are split among them.
    pub devices: Vec<AcceleratorDevice>,
    /// Number of layers on all of them together, the output counted as one.
    pub gpu_layers: u32,
    /// Accelerator features that the program was built with.
    pub build: Vec<String>,
}

/// The properties of an accelerator that determine its speed. Its name is excluded: it only numbers the devices of a
/// backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorDevice {
    pub backend: String,
    pub description: String,
    /// The driver, where the backend or the system reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

impl Accelerators {
    /// Returns the accelerators that hold layers of a model; `None` if all are on the CPU.
    fn of(model: &LlamaModel) -> Option<Self> {
        let device = |device: &Device| AcceleratorDevice {
            backend: device.backend.clone(),
            description: device.description.clone(),
            driver: device.driver.clone(),
        };
        (model.gpu_layers() > 0).then(|| Self {
            devices: model.devices().iter().map(device).collect(),
            gpu_layers: model.gpu_layers(),
            build: hedgerow_llama::ACCELERATORS.iter().map(|&feature| feature.to_owned()).collect(),
        })
    }
}

fn is_usual(kv_type: &KvType) -> bool {
    *kv_type == KvType::default()
}

impl Subject {
    /// Builds the subject of an engine about to run.
    ///
    /// # Errors
    ///
    /// When the model file can no longer be read.
    pub fn of(
        model: &LlamaModel,
        path: &Path,
        options: &EngineOptions,
        prefill_chunk: Tokens,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            machine: Machine::this(),
            model: ModelFile::of(model, path)?,
            engine: EngineSetup {
                version: version(),
                llama_cpp: hedgerow_llama::BINDING.to_owned(),
                parallel: options.parallel,
                context: options.context.0,
                threads: options.threads,
                micro_batch: options.micro_batch.0,
                prefill_chunk: prefill_chunk.0,
                kv_unified: options.kv_unified,
                flash_attention: options.flash_attention,
                kv_type: options.kv_type,
                accelerators: Accelerators::of(model),
                kernels: match model.load_options().kernels {
                    Kernels::Fast => None,
                    other @ Kernels::Plain => Some(other.name().to_owned()),
                },
                cpu_variant: hedgerow_llama::cpu_variant().map(str::to_owned),
            },
        })
    }

    /// File name of its profile: the model's name, and a digest of the whole subject.
    pub(crate) fn file_name(&self) -> String {
        let safe = |letter: char| {
            if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' }
        };
        let name: String = self.model.name.chars().take(60).map(safe).collect();
        let all = serde_json::to_string(self).expect("a subject is plain data");
        format!("{name}-{}.json", &hex(&Sha256::digest(all))[..16])
    }
}

impl ModelFile {
    /// Identifies a model that was loaded from this file.
    ///
    /// # Errors
    ///
    /// When the file can no longer be read.
    pub fn of(model: &LlamaModel, path: &Path) -> anyhow::Result<Self> {
        let info = model.info();
        let fingerprint =
            fingerprint(path).with_context(|| format!("reading the model file {}", path.display()))?;
        Ok(Self {
            name: info.name.clone(),
            precision: info.precision.clone(),
            file_bytes: info.file.0,
            fingerprint,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::profile) fn subject() -> Subject {
        Subject {
            machine: Machine { cpu: "Test CPU".into(), cores: 2 },
            model: ModelFile {
                name: "A model/of mine".into(),
                precision: "Q4_1".into(),
                file_bytes: 98_362_432,
                fingerprint: "sha256-ends:00".into(),
            },
            engine: EngineSetup {
                version: "hedgerow 0".into(),
                llama_cpp: "binding 0".into(),
                parallel: 6,
                context: 600,
                threads: 2,
                micro_batch: 128,
                prefill_chunk: 128,
                kv_unified: false,
                flash_attention: false,
                kv_type: KvType::F16,
                accelerators: None,
                kernels: None,
                cpu_variant: None,
            },
        }
    }

    #[test]
    fn every_difference_makes_another_file_name() {
        let (own, mut threads, mut machine, mut kv) = (subject(), subject(), subject(), subject());
        let mut plain = subject();
        plain.engine.kernels = Some("plain".into());
        threads.engine.threads = 1;
        machine.machine.cores = 4;
        kv.engine.kv_type = KvType::Q8_0;
        let names = [&own, &threads, &machine, &kv, &plain].map(Subject::file_name);
        assert!(names[0].starts_with("A-model-of-mine-") && names[0].ends_with(".json"), "{}", names[0]);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{names:?}");
        assert_eq!(own.file_name(), subject().file_name());
    }

    fn with_accelerator(gpu_layers: u32, driver: Option<&str>) -> Subject {
        let device = AcceleratorDevice {
            backend: "Vulkan".into(),
            description: "A graphics processor".into(),
            driver: driver.map(str::to_owned),
        };
        let accelerators = Accelerators { devices: vec![device], gpu_layers, build: vec!["vulkan".into()] };
        let mut subject = subject();
        subject.engine.accelerators = Some(accelerators);
        subject
    }

    #[test]
    fn device_driver_and_layers_make_another_profile() {
        let subjects = [
            subject(),
            with_accelerator(31, Some("530.1")),
            with_accelerator(31, Some("550.2")),
            with_accelerator(15, Some("550.2")),
            with_accelerator(15, None),
        ];
        let names: std::collections::BTreeSet<String> = subjects.iter().map(Subject::file_name).collect();
        assert_eq!(names.len(), subjects.len());
        for subject in subjects {
            let text = serde_json::to_string(&subject).unwrap();
            assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), subject);
        }
    }

    #[test]
    fn a_profile_of_the_cpu_is_written_and_named_as_it_was_before_there_were_accelerators() {
        let text = serde_json::to_string(&subject()).unwrap();
        assert!(text.ends_with(r#""kv_unified":false,"flash_attention":false}}"#), "{text}");
        assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), subject());
    }

    #[test]
    fn a_file_is_told_from_one_of_the_same_size_by_either_end() {
        let path = std::env::temp_dir().join(format!("hedgerow-fingerprint-{}", std::process::id()));
        let mut content = vec![0_u8; 20 << 20];
        let mut of = |place: usize, byte: u8| {
            content[place] = byte;
            std::fs::write(&path, &content).unwrap();
            fingerprint(&path).unwrap()
        };
        let prints = [of(0, 1), of(0, 2), of((20 << 20) - 1, 3)];
        assert_eq!(prints.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        std::fs::write(&path, "x").unwrap();
        assert!(fingerprint(&path).is_ok(), "a file of one byte has a fingerprint too");
        std::fs::remove_file(path).unwrap();
    }
}
