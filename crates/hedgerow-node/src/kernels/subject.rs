//! The subject of a verdict: what the result of a kernel check depends on.

use std::collections::BTreeSet;
use std::path::Path;

use hedgerow_core::node::KvType;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Wanted;
use super::offload::Offload;
use crate::build_version;
use crate::host::Machine;
use crate::host::{Cpus, Root};
use crate::models::{self, hex};

/// The key of a verdict: where any of these differs, other kernels may run or the same ones may behave differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) cpu: Cpu,
    build: Build,
    model: ModelKind,
    engine: EngineKind,
    /// The layers on devices. Omitted where all are on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offload: Option<Offload>,
}

/// The processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cpu {
    pub(super) name: String,
    /// Its features, as the system names them.
    pub(super) flags: String,
}

/// The build of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Build {
    version: String,
    llama_cpp: String,
    /// Digest of the program and of the files it loads its kernels from; `None` where they cannot be read.
    fingerprint: Option<String>,
}

/// The properties of a model that determine its kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ModelKind {
    architecture: String,
    /// Types of its tensors.
    tensor_types: BTreeSet<String>,
    /// Digest of the types with the numbers of rows and columns: kernels work on blocks, and matrices that cannot be
    /// divided into such blocks use other kernels.
    shapes: String,
}

/// The engine settings that determine the kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EngineKind {
    kv_type: KvType,
    flash_attention: bool,
    /// The requested variant of the CPU kernels.
    cpu_variant: Option<String>,
}

impl Subject {
    /// Builds the subject for a model file on this machine, with these layers on devices.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a model.
    pub(super) fn of(model: &Path, wanted: &Wanted, offload: Option<Offload>) -> anyhow::Result<Self> {
        Ok(Self {
            cpu: Cpu { name: Machine::this().cpu, flags: Cpus::read(&Root::system()).features.join(" ") },
            build: Build::this(),
            model: ModelKind::of(model)?,
            engine: EngineKind {
                kv_type: wanted.engine.kv_type,
                flash_attention: wanted.engine.flash_attention,
                cpu_variant: wanted.cpu_variant.clone(),
            },
            offload,
        })
    }

    /// Whether the subject is identified, so that its verdict may be saved.
    pub(super) fn is_known(&self) -> bool {
        self.build.fingerprint.is_some()
    }

    /// File name of its verdict: the kind of model, and a digest of the whole subject.
    pub(super) fn file_name(&self) -> String {
        let safe = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let name: String = self.model.architecture.chars().take(40).map(safe).collect();
        let all = serde_json::to_string(self).expect("a subject is plain data");
        format!("{name}-{}.json", &hex(&Sha256::digest(all))[..16])
    }
}

impl Build {
    fn this() -> Self {
        let mut files = hedgerow_llama::cpu_variant_files();
        files.sort();
        // Not `current_exe`, whose path is invalid once the program's file was replaced.
        files.insert(0, super::check::THIS_PROGRAM.into());
        let prints: Option<Vec<String>> = files.iter().map(|file| models::fingerprint(file).ok()).collect();
        Self {
            version: build_version::version(),
            llama_cpp: hedgerow_llama::BINDING.to_owned(),
            fingerprint: prints.map(|prints| hex(&Sha256::digest(prints.concat()))[..16].to_owned()),
        }
    }
}

impl ModelKind {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let summary = models::validate_gguf(path)?;
        let tensors = models::read_tensors(path)?;
        let shapes: BTreeSet<(&str, &[u64])> =
            tensors.iter().map(|tensor| (tensor.kind.as_str(), tensor.lengths.as_slice())).collect();
        let shapes = serde_json::to_string(&shapes).expect("shapes are plain data");
        Ok(Self {
            architecture: summary.architecture.unwrap_or_default(),
            tensor_types: summary.tensor_types.into_keys().collect(),
            shapes: hex(&Sha256::digest(shapes))[..16].to_owned(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::offload::tests::offload;
    use super::*;

    pub(in crate::kernels) fn subject() -> Subject {
        Subject {
            cpu: Cpu { name: "Test CPU".into(), flags: "avx avx2 fma".into() },
            build: Build {
                version: "hedgerow 0".into(),
                llama_cpp: "binding 0".into(),
                fingerprint: Some("00".into()),
            },
            model: ModelKind {
                architecture: "llama".into(),
                tensor_types: ["F32", "Q4_0"].map(String::from).into(),
                shapes: "00".into(),
            },
            engine: EngineKind { kv_type: KvType::F16, flash_attention: true, cpu_variant: None },
            offload: None,
        }
    }

    #[test]
    fn every_difference_makes_another_file_name() {
        let mut others = vec![subject(); 7];
        others[1].cpu.flags += " amx_int8";
        others[2].build.fingerprint = Some("01".into());
        others[3].model.shapes = "01".into();
        others[4].engine.kv_type = KvType::Q8_0;
        others[5].engine.cpu_variant = Some("haswell".into());
        others[6].offload = Some(offload());
        let names: BTreeSet<String> = others.iter().map(Subject::file_name).collect();
        assert_eq!(names.len(), 7, "{names:?}");
        assert!(names.iter().all(|name| name.starts_with("llama-") && name.ends_with(".json")), "{names:?}");
    }

    #[test]
    fn this_program_can_be_told_from_others() {
        let build = Build::this();
        assert_eq!(build, Build::this());
        assert_eq!(build.fingerprint.unwrap().len(), 16);
    }
}
