//! Determines the CPUs and the number of threads that the engine computes with.

use std::collections::BTreeSet;
use std::fmt;

use super::cgroup::{self, CpuQuota};
use super::{Root, number_list, value_of};

/// A CPU counts as fast if it has at least this fraction of the capacity of the fastest allowed one. Big cores of
/// phones and boards have 0.8 or more, little ones less than 0.5.
const FAST: f64 = 2.0 / 3.0;

/// The CPUs of the host that are available to this process.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpus {
    /// Name that the processor reports.
    pub model: Option<String>,
    /// Instruction sets of the processor, as the kernel names them.
    pub features: Vec<String>,
    /// Number of CPUs that are online.
    pub(crate) online: u32,
    /// CPUs that this process's affinity allows.
    pub allowed: Vec<u32>,
    /// The fast ones among the allowed CPUs; all of them where they have equal capacity.
    pub fast: Vec<u32>,
    /// Physical cores among the fast CPUs: hardware threads of one core share its arithmetic units.
    pub cores: u32,
    /// The strictest CPU quota.
    pub(crate) quota: Option<CpuQuota>,
}

/// Number of engine threads, and the reason for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Threads {
    /// Number of threads that compute a step.
    pub count: u32,
    /// What determines `count`: the operator, the machine or a limit.
    pub reason: ThreadReason,
    /// CPUs to pin the threads to, where other CPUs would slow them down.
    pub(crate) pin_to: Option<Vec<u32>>,
}

/// The reason for the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub enum ThreadReason {
    /// Set by the operator.
    Asked,
    /// All CPUs are used.
    Machine,
    /// The process's affinity allows no more CPUs.
    Affinity { allowed: u32, online: u32 },
    /// The other CPUs are slower.
    Fast { fast: u32, allowed: u32 },
    /// The other hardware threads share cores with those used.
    Cores { cores: u32, hardware_threads: u32 },
    /// The process's CPU quota allows no more.
    Quota(CpuQuota),
}

impl Cpus {
    /// Reads the CPUs of the host.
    pub fn read(root: &Root) -> Self {
        let info = root.read("/proc/cpuinfo").unwrap_or_default();
        let status = root.read("/proc/thread-self/status").or_else(|| root.read("/proc/self/status"));
        let status = status.unwrap_or_default();
        let online = root.read("/sys/devices/system/cpu/online").and_then(|text| number_list(&text));
        let allowed = value_of(&status, "Cpus_allowed_list").and_then(number_list);
        let allowed = match (allowed, &online) {
            (Some(allowed), Some(online)) => {
                // A mask may include CPUs that are offline or do not exist.
                allowed.into_iter().filter(|cpu| online.contains(cpu)).collect()
            }
            (Some(allowed), None) => allowed,
            (None, Some(online)) => online.clone(),
            (None, None) => Vec::new(),
        };
        let allowed = if allowed.is_empty() { (0..by_the_standard_library()).collect() } else { allowed };
        let fast = fast(root, &allowed);
        Self {
            model: name(&info).map(str::to_owned),
            features: features(&info),
            online: online.map_or(allowed.len(), |online| online.len()) as u32,
            cores: cores(root, &fast),
            quota: cgroup::cpu_quota(root),
            allowed,
            fast,
        }
    }

    /// Returns one thread for each fast core, within affinity and quota; `asked` threads if it is given.
    ///
    /// Hardware threads of one core get one thread: a step multiplies matrices, for which one thread per core is as
    /// fast, and every further thread is one more to wait for at each barrier (llama.cpp does the same). A quota is
    /// rounded down: one thread too many uses it up before the period ends, and then all threads are throttled.
    pub fn threads(&self, asked: Option<u32>) -> Threads {
        if let Some(count) = asked {
            return Threads { count, reason: ThreadReason::Asked, pin_to: None };
        }
        let (allowed, fast) = (self.allowed.len() as u32, self.fast.len() as u32);
        let mut count = self.online.max(1);
        let mut reason = ThreadReason::Machine;
        let mut limit = |most: u32, because: ThreadReason| {
            if most.max(1) < count {
                (count, reason) = (most.max(1), because);
            }
        };
        limit(allowed, ThreadReason::Affinity { allowed, online: self.online });
        limit(fast, ThreadReason::Fast { fast, allowed });
        limit(self.cores, ThreadReason::Cores { cores: self.cores, hardware_threads: fast });
        if let Some(quota) = &self.quota {
            limit(quota.cpus as u32, ThreadReason::Quota(quota.clone()));
        }
        let pin_to = (fast < allowed).then(|| self.fast.clone());
        Threads { count, reason, pin_to }
    }
}

fn by_the_standard_library() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// Returns the fast CPUs among the given ones.
fn fast(root: &Root, allowed: &[u32]) -> Vec<u32> {
    // Intel processors with two kinds of cores list each kind.
    let of_intel = root.read("/sys/devices/cpu_core/cpus").and_then(|text| number_list(&text));
    if let Some(listed) = of_intel {
        let performance: Vec<u32> = allowed.iter().copied().filter(|cpu| listed.contains(cpu)).collect();
        return if performance.is_empty() { allowed.to_vec() } else { performance };
    }
    let capacity = |cpu: &u32| root.number(format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity"));
    let capacities: Option<Vec<u64>> = allowed.iter().map(capacity).collect();
    let Some(capacities) = capacities else { return allowed.to_vec() };
    let most = capacities.iter().max().copied().unwrap_or_default();
    let is_fast = |(_, capacity): &(&u32, &u64)| **capacity as f64 >= FAST * most as f64;
    allowed.iter().zip(&capacities).filter(is_fast).map(|(cpu, _)| *cpu).collect()
}

/// Counts the cores that the given CPUs belong to.
fn cores(root: &Root, cpus: &[u32]) -> u32 {
    let folder = |cpu: &u32| format!("/sys/devices/system/cpu/cpu{cpu}/topology");
    let siblings = |cpu: &u32| {
        let text = root.read(format!("{}/core_cpus_list", folder(cpu)));
        let text = text.or_else(|| root.read(format!("{}/thread_siblings_list", folder(cpu))))?;
        number_list(&text)
    };
    // Where the system does not report it, each CPU counts as a core.
    let all: BTreeSet<Vec<u32>> =
        cpus.iter().map(|cpu| siblings(cpu).unwrap_or_else(|| vec![*cpu])).collect();
    all.len() as u32
}

/// Reads the processor's name from `/proc/cpuinfo`: x86 has `model name`; Arm has only the part number of the core's
/// design, and some boards add a name of their own.
fn name(cpuinfo: &str) -> Option<&str> {
    ["model name", "Model", "Hardware", "CPU part"].into_iter().find_map(|key| entry(cpuinfo, key))
}

/// Reads the instruction sets from `/proc/cpuinfo`: x86 lists `flags`, Arm `Features`.
fn features(cpuinfo: &str) -> Vec<String> {
    let listed = ["flags", "Features"].into_iter().find_map(|key| entry(cpuinfo, key));
    listed.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn entry<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.find_map(|(name, value)| (name.trim() == key).then_some(value.trim()))
}

impl fmt::Display for ThreadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("as `threads` asks for"),
            Self::Machine => f.write_str("one for each core of the machine"),
            Self::Affinity { allowed, online } => {
                write!(f, "because the process's affinity allows {allowed} of {online} CPUs")
            }
            Self::Fast { fast, allowed } => {
                write!(
                    f,
                    "because {fast} of {allowed} usable CPUs are fast, and the slower ones would hold each step up"
                )
            }
            Self::Cores { cores, hardware_threads } => {
                write!(f, "because {hardware_threads} usable CPUs are hardware threads of {cores} cores")
            }
            Self::Quota(CpuQuota { cpus, file }) => {
                write!(f, "because the CPU quota is {cpus:.2} CPUs ({}), rounded down", file.display())
            }
        }
    }
}

/// Pins this thread, and those that it starts from now on, to the given CPUs; returns whether the system accepted it.
pub(crate) fn pin_this_thread(cpus: &[u32]) -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        let known = cpus.iter().filter(|&&cpu| (cpu as usize) < rustix::thread::CpuSet::MAX_CPU);
        known.for_each(|&cpu| set.set(cpu as usize));
        set.count() > 0 && rustix::thread::sched_setaffinity(None, &set).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = cpus;
        false
    }
}

#[cfg(test)]
#[path = "cpus_tests.rs"]
mod tests;
