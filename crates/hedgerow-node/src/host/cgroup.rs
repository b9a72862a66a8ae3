//! Reads the control groups of this process, version 1, version 2 or a mixture of both.
//!
//! A group's limit applies to all groups below it, so every group from the process's own up to the root counts. In a
//! container the groups above the container's own are often not visible; the visible ones are used.

use std::path::{Path, PathBuf};

use super::{Root, value_of};

/// A resource that a group may limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Cpu,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// CPU quota of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuQuota {
    /// In CPUs: 1.5 is 150 ms in each 100 ms.
    pub(crate) cpus: f64,
    /// The file that sets the quota.
    pub file: PathBuf,
}

/// Memory limit and use of a group, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMemory {
    /// The file that sets the limit.
    pub file: PathBuf,
    /// Above this limit the kernel reclaims memory or kills processes.
    pub limit: u64,
    /// Memory that the group uses now and cannot release.
    pub used: u64,
    /// Whether the kernel only slows the group down above the limit (`memory.high`).
    pub(crate) is_soft: bool,
}

impl GroupMemory {
    /// Memory that the group may still allocate.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Returns the strictest CPU quota of all groups up to the root; `None` if there is none.
pub(super) fn cpu_quota(root: &Root) -> Option<CpuQuota> {
    let (version, groups) = groups(root, Controller::Cpu)?;
    let quota = |group: &PathBuf| match version {
        Version::One => {
            let file = group.join("cpu.cfs_quota_us");
            // −1 means no quota and does not parse as a number here.
            let quota = root.number(&file)?;
            let period = root.number(group.join("cpu.cfs_period_us"))?;
            Some((quota, period, file))
        }
        Version::Two => {
            let file = group.join("cpu.max");
            let text = root.read(&file)?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((quota.parse().ok()?, period.parse().ok()?, file))
        }
    };
    let quotas = groups.iter().filter_map(quota).filter(|&(quota, period, _)| quota > 0 && period > 0);
    let in_cpus = quotas.map(|(quota, period, file)| CpuQuota { cpus: quota as f64 / period as f64, file });
    in_cpus.min_by(|a, b| a.cpus.total_cmp(&b.cpus))
}

/// Returns how often the process's groups were throttled by their CPU quota; `None` where no file counts it.
pub(super) fn throttled(root: &Root) -> Option<u64> {
    let (_, groups) = groups(root, Controller::Cpu)?;
    let counts = groups.iter().filter_map(|group| {
        let stat = root.read(group.join("cpu.stat"))?;
        value_of(&stat, "nr_throttled")?.parse::<u64>().ok()
    });
    counts.max()
}

/// Returns the memory limits of all groups up to the root, the process's own group first.
pub(super) fn memory_limits(root: &Root) -> Vec<GroupMemory> {
    let Some((version, groups)) = groups(root, Controller::Memory) else { return Vec::new() };
    let names: &[(&str, bool)] = match version {
        Version::One => &[("memory.limit_in_bytes", false)],
        Version::Two => &[("memory.max", false), ("memory.high", true)],
    };
    let mut limits = Vec::new();
    for group in &groups {
        for &(name, is_soft) in names {
            let file = group.join(name);
            // `max` does not parse as a number; version 1 writes the largest number of pages instead.
            let Some(limit) = root.number(&file).filter(|&limit| limit < UNLIMITED) else { continue };
            if let Some(used) = used(root, version, group) {
                limits.push(GroupMemory { file, limit, used, is_soft });
            }
        }
    }
    limits
}

const UNLIMITED: u64 = 1 << 62;

/// Returns a group's memory use without cached files, which the kernel drops before it kills a process.
///
/// Cached files in use count as cached too, as in the kernel's `MemAvailable`: after an earlier start with the same
/// model its file is in the page cache, and would otherwise be counted twice.
fn used(root: &Root, version: Version, group: &Path) -> Option<u64> {
    let (usage, keys) = match version {
        Version::One => ("memory.usage_in_bytes", ["total_inactive_file", "total_active_file"].as_slice()),
        Version::Two => ("memory.current", ["inactive_file", "active_file", "slab_reclaimable"].as_slice()),
    };
    let usage = root.number(group.join(usage))?;
    let stat = root.read(group.join("memory.stat")).unwrap_or_default();
    let cached = keys.iter().filter_map(|key| value_of(&stat, key)?.parse::<u64>().ok());
    Some(usage.saturating_sub(cached.sum()))
}

/// Returns the folders of the process's group for a controller and of the groups above it, its own first.
fn groups(root: &Root, controller: Controller) -> Option<(Version, Vec<PathBuf>)> {
    let own = root.read("/proc/self/cgroup")?;
    let mounts = root.read("/proc/self/mountinfo")?;
    let name = match controller {
        Controller::Cpu => "cpu",
        Controller::Memory => "memory",
    };
    // `4:memory:/path`, `2:cpu,cpuacct:/path`, and for version 2 `0::/path`.
    let lines = || own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let has = |list: &str| list.split(',').any(|one| one == name);
    let first = lines().find(|(controllers, _)| has(controllers));
    let of_first =
        first.and_then(|(_, path)| up(&mounts, path, |kind, options| kind == "cgroup" && has(options)));
    if let Some(groups) = of_first {
        return Some((Version::One, groups));
    }
    let (_, path) = lines().find(|(controllers, _)| controllers.is_empty())?;
    up(&mounts, path, |kind, _| kind == "cgroup2").map(|groups| (Version::Two, groups))
}

/// Returns the folders from a group's up to the mount point of its hierarchy.
fn up(mounts: &str, path: &str, is_it: impl Fn(&str, &str) -> bool) -> Option<Vec<PathBuf>> {
    // `35 31 0:32 /of-the-hierarchy /where rw,relatime - cgroup cgroup rw,memory`
    let (of_hierarchy, mounted) = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1).unwrap_or_default());
        let mut front = front.split(' ').skip(3);
        is_it(kind, options).then_some((front.next()?, front.next()?))
    })?;
    // In a container only a part of the hierarchy is mounted, and the path may be outside it.
    let below = Path::new(path).strip_prefix(of_hierarchy).unwrap_or(Path::new(""));
    let mounted = Path::new(mounted);
    let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let own = if is_plain { mounted.join(below) } else { mounted.to_owned() };
    Some(own.ancestors().take_while(|folder| folder.starts_with(mounted)).map(Path::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    const V2: [(&str, &str); 2] = [
        ("/proc/self/cgroup", "0::/a.slice/b.service\n"),
        ("/proc/self/mountinfo", "29 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"),
    ];

    #[test]
    fn the_strictest_quota_on_the_path_counts() {
        let tree = Tree::new("quota", &V2);
        assert_eq!(cpu_quota(&tree.root), None, "no file sets a limit");
        tree.write("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
        assert_eq!(cpu_quota(&tree.root), None);
        tree.write("/sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n");
        let quota = cpu_quota(&tree.root).unwrap();
        assert_eq!((quota.cpus, quota.file), (1.5, "/sys/fs/cgroup/a.slice/cpu.max".into()));
        tree.write("/sys/fs/cgroup/a.slice/b.service/cpu.max", "50000 100000\n");
        assert_eq!(cpu_quota(&tree.root).unwrap().cpus, 0.5);
    }

    #[test]
    fn memory_that_can_be_reclaimed_does_not_count_as_used() {
        let tree = Tree::new("memory-2", &V2);
        let group = "/sys/fs/cgroup/a.slice/b.service";
        tree.write(&format!("{group}/memory.max"), "max\n");
        tree.write(&format!("{group}/memory.high"), "800\n");
        tree.write(&format!("{group}/memory.current"), "500\n");
        tree.write(
            &format!("{group}/memory.stat"),
            "anon 200\ninactive_file 120\nactive_file 80\nslab_reclaimable 50\n",
        );
        tree.write("/sys/fs/cgroup/a.slice/memory.max", "1000\n");
        tree.write("/sys/fs/cgroup/a.slice/memory.current", "900\n");
        let limits = memory_limits(&tree.root);
        let short: Vec<_> = limits.iter().map(|limit| (limit.left(), limit.is_soft)).collect();
        assert_eq!(short, [(550, true), (100, false)]);
        assert_eq!(limits[1].file, Path::new("/sys/fs/cgroup/a.slice/memory.max"));
    }

    /// Version 1 for CPU time and memory, and version 2 without controllers, as on many systems.
    const MIXED: [(&str, &str); 2] = [
        ("/proc/self/cgroup", "4:memory:/box/one\n2:cpuacct,cpu:/box\n0::/elsewhere\n"),
        (
            "/proc/self/mountinfo",
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
    ];

    #[test]
    fn version_1_is_read_where_its_hierarchy_is_mounted() {
        let tree = Tree::new("version-1", &MIXED);
        tree.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "250000\n");
        tree.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
        tree.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.stat", "nr_periods 9\nnr_throttled 3\n");
        tree.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        assert_eq!(cpu_quota(&tree.root).map(|quota| quota.cpus), Some(2.5));
        assert_eq!(throttled(&tree.root), Some(3));
        // Only a part of the hierarchy is mounted: its `/box/one` is visible as `/one`.
        tree.write("/sys/fs/cgroup/memory/one/memory.limit_in_bytes", "9223372036854771712\n");
        tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n");
        tree.write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n");
        tree.write("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n");
        let limits = memory_limits(&tree.root);
        assert_eq!(limits.iter().map(GroupMemory::left).collect::<Vec<_>>(), [800]);
    }

    #[test]
    fn a_path_outside_what_is_mounted_is_taken_for_its_top() {
        for path in ["/../../host", "/not/box"] {
            let tree = Tree::new("outside", &MIXED);
            tree.write("/proc/self/cgroup", &format!("4:memory:{path}\n"));
            tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n");
            tree.write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "500\n");
            assert_eq!(memory_limits(&tree.root).len(), 1, "{path}");
        }
    }

    #[test]
    fn without_control_groups_nothing_is_limited() {
        let tree = Tree::new("none", &[]);
        assert_eq!((cpu_quota(&tree.root), memory_limits(&tree.root)), (None, Vec::new()));
    }
}
