//! Checks the program and the machine: the build, the processor and the devices.

use std::thread;
use std::time::Duration;

use hedgerow_llama::{ACCELERATORS, COMPILER, compiled_instruction_sets};

use super::{Examined, Finding, mb};
use crate::build_version::version;
use crate::host::Snapshot;
use crate::kernels;

/// Other processes that use more CPU time than this disturb step times.
const BUSY_PERCENT: u32 = 15;
/// How long the machine is observed for other work.
const WATCHED: Duration = Duration::from_millis(500);

/// Reports the program, the compiler of its kernels and the instruction sets they were compiled for.
pub(super) fn build() -> Finding {
    let sets = compiled_instruction_sets();
    let sets = match sets.as_slice() {
        [] => "every CPU variant".to_owned(),
        sets => sets.join(" "),
    };
    Finding::ok("build", format!("{}, {COMPILER}; kernels for {sets}", version()))
}

/// Checks whether the processor has the instruction sets that the kernels were compiled for.
pub(super) fn cpu(examined: &Examined<'_>) -> Finding {
    let name = examined.cpus.model.as_deref().unwrap_or("unknown");
    let lacks = kernels::lacking(&compiled_instruction_sets().join(" "), &examined.cpus.features.join(" "));
    if lacks.is_empty() {
        return Finding::ok("cpu", name);
    }
    Finding::error(
        "cpu",
        format!("{name} lacks {}, which the kernels were compiled for", lacks.join(" ")),
        "build hedgerow on this machine, or use a build with the feature `portable`",
    )
}

/// Reports the number of engine threads and the reason for it.
pub(super) fn threads(examined: &Examined<'_>) -> Finding {
    let threads = examined.cpus.threads(examined.config.engine.threads);
    let quota = examined.cpus.quota.as_ref().map_or(f64::INFINITY, |quota| quota.cpus);
    let found = format!("{}: {}", threads.count, threads.reason);
    let most = (examined.cpus.allowed.len() as f64).min(quota);
    if f64::from(threads.count) > most {
        return Finding::warning(
            "threads",
            format!("{found}, but this process may use only {most} CPUs"),
            "leave --threads out, or lower it: threads that wait for a CPU hold up all others",
        );
    }
    Finding::ok("threads", found)
}

/// Checks whether other work uses the processor now.
pub(super) fn noise(examined: &Examined<'_>) -> Finding {
    let before = Snapshot::take(&examined.root, &examined.cpus.allowed);
    thread::sleep(WATCHED);
    let noise = Snapshot::take(&examined.root, &examined.cpus.allowed).since(&before);
    // This process only slept, so its own threads' waiting time shows nothing.
    if noise.is_loud() || noise.others_percent.is_some_and(|percent| percent > BUSY_PERCENT) {
        return Finding::warning(
            "other work",
            noise.to_string(),
            "stop it, or give the server CPUs of its own: admission relies on measured step times",
        );
    }
    Finding::ok("other work", noise.to_string())
}

/// Lists the devices other than the CPU.
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
            "install its driver and let this user open its device files; see docs/guides/accelerators.md",
        );
    }
    Finding::ok("devices", named.join("; "))
}
