//! A control group for a test, where the system allows creating one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Bytes.
    Memory(u64),
    /// CPU time in thousandths of a CPU.
    Cpu(u64),
}

/// A group below this process's own, so that it can only be stricter, or beside it; removed when dropped.
pub(crate) struct Group {
    folder: PathBuf,
    is_version_1: bool,
}

impl Group {
    /// Creates a group with a limit; `None`, with the reason printed, where this process may not create one.
    pub(crate) fn new(name: &str, limit: Limit) -> Option<Self> {
        let controller = match limit {
            Limit::Memory(_) => "memory",
            Limit::Cpu(_) => "cpu",
        };
        let made = parents(controller).into_iter().find_map(|(parent, is_version_1)| {
            let folder = parent.join(format!("hedgerow-test-{}-{name}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            // Removed again if it cannot be limited.
            let group = Self { folder, is_version_1 };
            group.set(limit).ok().map(|()| group)
        });
        if made.is_none() {
            eprintln!("skipped: no control group for `{controller}` can be made here");
        }
        made
    }

    /// Changes the limit.
    pub(crate) fn set(&self, limit: Limit) -> std::io::Result<()> {
        let (file, value) = match (limit, self.is_version_1) {
            (Limit::Memory(bytes), true) => ("memory.limit_in_bytes", bytes.to_string()),
            (Limit::Memory(bytes), false) => ("memory.max", bytes.to_string()),
            (Limit::Cpu(thousandths), true) => ("cpu.cfs_quota_us", (100 * thousandths).to_string()),
            (Limit::Cpu(thousandths), false) => ("cpu.max", format!("{} 100000", 100 * thousandths)),
        };
        fs::write(self.folder.join(file), value)
    }

    /// Returns a command that runs the program in this group from its first instruction.
    pub(crate) fn hedgerow(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(self.folder.join("cgroup.procs")).arg(env!("CARGO_BIN_EXE_hedgerow"));
        command
    }

    /// Returns how many processes the kernel's OOM killer has ended in the group.
    pub(crate) fn killed(&self) -> u64 {
        let file = if self.is_version_1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may still be exiting.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("{} cannot be removed", self.folder.display());
    }
}

/// Returns where a group may be created: below this process's own, or beside it where version 2 allows none below.
fn parents(controller: &str) -> Vec<(PathBuf, bool)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut parents = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let is_version_1 = controllers.split(',').any(|one| one == controller);
        if !is_version_1 && !controllers.is_empty() {
            continue;
        }
        let is_it = |kind: &str, options: &str| {
            if is_version_1 {
                kind == "cgroup" && options.split(',').any(|one| one == controller)
            } else {
                kind == "cgroup2"
            }
        };
        let mounted = mounts.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let mut back = back.split(' ');
            is_it(back.next()?, back.nth(1)?).then(|| front.split(' ').nth(4))?
        });
        let Some(mounted) = mounted.map(Path::new) else { continue };
        let own = mounted.join(path.trim_start_matches('/'));
        let beside = own.parent().filter(|parent| !is_version_1 && parent.starts_with(mounted));
        parents.extend(beside.map(|parent| (parent.to_owned(), is_version_1)));
        parents.push((own, is_version_1));
    }
    parents
}
