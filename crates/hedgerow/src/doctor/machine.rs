//! The program and the machine: what was built, and what there is to compute on.

use std::thread;
use std::time::Duration;

use hedgerow_llama::{ACCELERATORS, COMPILER, compiled_instruction_sets};

use super::{Finding, Patient, mb};
use crate::host::Snapshot;
use crate::profile::version;

/// Other processes that take more of the CPUs' time than this disturb step times.
const BUSY_PERCENT: u32 = 15;
/// How long the machine is watched for other work.
const WATCHED: Duration = Duration::from_millis(500);

/// The program, the compiler of its kernels and what they were compiled for.
pub(super) fn build() -> Finding {
    let sets = compiled_instruction_sets();
    let sets = match sets.as_slice() {
        [] => "every CPU variant".to_owned(),
        sets => sets.join(" "),
    };
    Finding::ok("build", format!("{}, {COMPILER}; kernels for {sets}", version()))
}

/// The processor, and whether it has what the kernels were compiled for.
pub(super) fn cpu(patient: &Patient<'_>) -> Finding {
    let name = patient.cpus.model.as_deref().unwrap_or("unknown");
    let lacks = lacking(&patient.cpus.features, &compiled_instruction_sets());
    if lacks.is_empty() {
        return Finding::ok("cpu", name);
    }
    Finding::error(
        "cpu",
        format!("{name} lacks {}, which the kernels were compiled for", lacks.join(" ")),
        "build hedgerow on this machine, or use a build with the feature `portable`",
    )
}

/// Instruction sets that kernels use, by llama.cpp's name and the system's. Those of other processors than x86 have
/// their names from elsewhere and are not judged.
const NAMES: [(&str, &str); 13] = [
    ("SSE3", "pni"),
    ("SSSE3", "ssse3"),
    ("AVX", "avx"),
    ("AVX_VNNI", "avx_vnni"),
    ("AVX2", "avx2"),
    ("F16C", "f16c"),
    ("FMA", "fma"),
    ("BMI2", "bmi2"),
    ("AVX512", "avx512f"),
    ("AVX512_VBMI", "avx512vbmi"),
    ("AVX512_VNNI", "avx512_vnni"),
    ("AVX512_BF16", "avx512_bf16"),
    ("AMX_INT8", "amx_int8"),
];

fn lacking<'a>(features: &[String], compiled: &[&'a str]) -> Vec<&'a str> {
    let is_lacking = |set: &&&str| {
        let name = NAMES.iter().find(|(of_llama, _)| *of_llama == **set).map(|(_, of_system)| *of_system);
        // A system that names no features is not judged either.
        name.is_some_and(|name| !features.is_empty() && !features.iter().any(|feature| feature == name))
    };
    compiled.iter().filter(is_lacking).copied().collect()
}

/// How many threads the engine will have, and what decides that.
pub(super) fn threads(patient: &Patient<'_>) -> Finding {
    let threads = patient.cpus.threads(patient.config.engine.threads);
    let quota = patient.cpus.quota.as_ref().map_or(f64::INFINITY, |quota| quota.cpus);
    let found = format!("{}: {}", threads.count, threads.reason);
    let most = (patient.cpus.allowed.len() as f64).min(quota);
    if f64::from(threads.count) > most {
        return Finding::warning(
            "threads",
            format!("{found}, but this process may use only {most} CPUs"),
            "leave --threads out, or lower it: threads that wait for a CPU hold up all others",
        );
    }
    Finding::ok("threads", found)
}

/// Whether other work takes the processor now.
pub(super) fn noise(patient: &Patient<'_>) -> Finding {
    let before = Snapshot::take(&patient.root, &patient.cpus.allowed);
    thread::sleep(WATCHED);
    let noise = Snapshot::take(&patient.root, &patient.cpus.allowed).since(&before);
    // This process only slept, so that its threads did not have to wait.
    if noise.is_loud() || noise.others_percent.is_some_and(|percent| percent > BUSY_PERCENT) {
        return Finding::warning(
            "other work",
            noise.to_string(),
            "stop it, or give the server CPUs of its own: step times are measured and promised by",
        );
    }
    Finding::ok("other work", noise.to_string())
}

/// The devices besides the CPU.
pub(super) fn devices() -> Finding {
    if ACCELERATORS.is_empty() {
        return Finding::ok("devices", "the CPU alone, as this program was built");
    }
    let all = match hedgerow_llama::devices() {
        Ok(all) => all,
        Err(error) => return Finding::error("devices", error.to_string(), error.hint()),
    };
    let named: Vec<String> = all
        .iter()
        .filter(|device| device.holds_layers())
        .map(|device| format!("{} ({}, {} free)", device.name, device.description, mb(device.memory_free.0)))
        .collect();
    if named.is_empty() {
        return Finding::warning(
            "devices",
            format!("built for {}, and no device is found", ACCELERATORS.join(", ")),
            "install its driver and let this user open its device files; docs/accelerators.md says more",
        );
    }
    Finding::ok("devices", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_without_what_the_kernels_need_is_told() {
        let features = ["pni", "avx", "avx2", "avx512f"].map(str::to_owned);
        assert_eq!(
            lacking(&features, &["SSE3", "AVX512", "AMX_INT8", "AVX512_VNNI"]),
            ["AMX_INT8", "AVX512_VNNI"]
        );
        assert!(lacking(&features, &["SSE3", "AVX2", "NEON"]).is_empty());
        assert!(lacking(&[], &["AMX_INT8"]).is_empty(), "a system that says nothing");
    }
}
