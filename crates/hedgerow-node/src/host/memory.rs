//! Determines how much memory this process can still allocate.

use std::fmt;

use super::cgroup::{self, GroupMemory};
use super::{Root, value_of};

/// Memory available to new allocations, in bytes, and what limits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRoom {
    /// Bytes that the process can still allocate.
    pub bytes: u64,
    /// The limit that leaves the fewest bytes, which is the one that applies.
    pub limit: MemoryLimit,
    /// A limit above which the system only throttles the process, where it is tighter than `bytes`.
    pub(crate) soft: Option<GroupMemory>,
}

/// The source of a memory limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The machine's available memory.
    Machine,
    /// A control group.
    Group(GroupMemory),
}

impl MemoryRoom {
    /// Returns the minimum of the machine's available memory and what each control group up to the root leaves;
    /// `None` where the system reports neither.
    pub fn read(root: &Root) -> Option<Self> {
        let (soft, hard): (Vec<_>, Vec<_>) =
            cgroup::memory_limits(root).into_iter().partition(|group| group.is_soft);
        let available = root.read("/proc/meminfo").and_then(|text| kibibytes(&text, "MemAvailable"));
        let of_machine = available.map(|bytes| (bytes, MemoryLimit::Machine));
        let of_groups = hard.into_iter().map(|group| (group.left(), MemoryLimit::Group(group)));
        let (bytes, limit) = of_machine.into_iter().chain(of_groups).min_by_key(|(bytes, _)| *bytes)?;
        let soft = soft.into_iter().filter(|group| group.left() < bytes).min_by_key(GroupMemory::left);
        Some(Self { bytes, limit, soft })
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("what the machine has available"),
            Self::Group(GroupMemory { file, limit, used, .. }) => {
                let mb = |bytes: &u64| bytes.div_ceil(1_000_000);
                write!(f, "{} is {} MB, of which {} MB are in use", file.display(), mb(limit), mb(used))
            }
        }
    }
}

/// Returns this process's resident memory; `None` where the system does not report it.
pub fn resident_bytes() -> Option<u64> {
    kibibytes(&Root::system().read("/proc/self/status")?, "VmRSS")
}

/// Parses the value of a line like `VmRSS:  2048 kB`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    value_of(text, key)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn the_least_of_the_machine_and_its_groups_is_left() {
        let tree = Tree::new("room", &[("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")]);
        let room = MemoryRoom::read(&tree.root).unwrap();
        assert_eq!((room.bytes, room.limit), (4_096_000, MemoryLimit::Machine));
        tree.write("/proc/self/cgroup", "0::/a\n");
        tree.write("/proc/self/mountinfo", "29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        tree.write("/sys/fs/cgroup/a/memory.max", "3000000\n");
        tree.write("/sys/fs/cgroup/a/memory.high", "2000000\n");
        tree.write("/sys/fs/cgroup/a/memory.current", "1500000\n");
        let room = MemoryRoom::read(&tree.root).unwrap();
        assert_eq!(room.bytes, 1_500_000);
        assert_eq!(room.limit.to_string(), "/sys/fs/cgroup/a/memory.max is 3 MB, of which 2 MB are in use");
        assert_eq!(room.soft.map(|group| group.left()), Some(500_000));
    }

    #[test]
    fn where_nothing_is_known_nothing_is_limited() {
        assert_eq!(MemoryRoom::read(&Tree::new("no-room", &[]).root), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(kibibytes("VmPeak:\t    1 kB\nVmRSS:\t   2048 kB\n", "VmRSS"), Some(2 << 20));
        assert_eq!(kibibytes("VmSize:\t 1 kB\n", "VmRSS"), None);
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
