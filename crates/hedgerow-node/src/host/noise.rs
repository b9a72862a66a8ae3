//! Measures whether other work disturbs this process, from two snapshots of the system's counters.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Root, cgroup};

/// The system's counters at one moment. CPU times are in clock ticks, those of threads in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the given CPUs: total time, busy time, and steal time (given to another guest by the hypervisor).
    cpus: Option<(u64, u64, u64)>,
    /// CPU time of this process.
    own: Option<u64>,
    /// Of this process's threads: time on a CPU, and time runnable without a CPU.
    threads: Option<(u64, u64)>,
    /// How often this process was throttled by its CPU quota.
    throttled: Option<u64>,
}

/// The amount of other work between two snapshots, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noise {
    /// CPU time that other processes used on this process's CPUs; `None` where the system does not report it.
    pub(crate) others_percent: Option<u32>,
    /// Time that the hypervisor gave to other guests.
    pub(crate) steal_percent: Option<u32>,
    /// Share of runnable time in which this process's threads waited for a CPU. Also `None` where the CPU quota was
    /// used up meanwhile: throttling makes threads wait as well, and is a property of the machine.
    pub(crate) waiting_percent: Option<u32>,
    /// Whether the CPU quota was used up meanwhile.
    #[serde(default)]
    pub(crate) is_throttled: bool,
}

impl Noise {
    /// Whether measured times reflect other work more than this machine.
    ///
    /// Waiting threads are evidence only together with other processes: more engine threads than CPUs wait for each
    /// other.
    pub(crate) fn is_loud(&self) -> bool {
        let exceeds = |percent: Option<u32>, most: u32| percent.is_some_and(|percent| percent > most);
        let others_in_the_way = match self.waiting_percent {
            Some(waiting) => waiting > 5 && exceeds(self.others_percent, 5),
            None => exceeds(self.others_percent, 15),
        };
        others_in_the_way || exceeds(self.steal_percent, 5)
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.others_percent, "other processes used", "of its CPUs' time"),
            (self.waiting_percent, "its threads waited", "of their time for a CPU"),
            (self.steal_percent, "the hypervisor took", "of its CPUs' time"),
        ];
        let known =
            parts.iter().filter_map(|&(percent, what, of)| Some(format!("{what} {} % {of}", percent?)));
        let known: Vec<String> = known.collect();
        f.write_str(&if known.is_empty() {
            "nothing is known of other work".to_owned()
        } else {
            known.join(", ")
        })
    }
}

impl Snapshot {
    /// Takes a snapshot of the counters of the given CPUs now.
    pub fn take(root: &Root, cpus: &[u32]) -> Self {
        Self {
            cpus: root.read("/proc/stat").and_then(|text| of_cpus(&text, cpus)),
            own: root.read("/proc/self/stat").and_then(|text| of_process(&text)),
            threads: of_threads(root),
            throttled: cgroup::throttled(root),
        }
    }

    /// Computes the noise since an earlier snapshot.
    pub fn since(&self, earlier: &Self) -> Noise {
        let percent = |part: u64, whole: u64| (whole > 0).then(|| (100 * part / whole).min(100) as u32);
        let cpus = self.cpus.zip(earlier.cpus).map(|(now, then)| {
            let (all, busy) = (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1));
            (all, busy, now.2.saturating_sub(then.2))
        });
        let own = self.own.zip(earlier.own).map(|(now, then)| now.saturating_sub(then));
        let is_throttled = self.throttled > earlier.throttled;
        let threads = self.threads.zip(earlier.threads).filter(|_| !is_throttled).and_then(|(now, then)| {
            let (ran, waited) = (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1));
            percent(waited, ran + waited)
        });
        Noise {
            others_percent: cpus
                .zip(own)
                .and_then(|((all, busy, _), own)| percent(busy.saturating_sub(own), all)),
            steal_percent: cpus.and_then(|(all, _, stolen)| percent(stolen, all)),
            waiting_percent: threads,
            is_throttled,
        }
    }
}

/// Total, busy and steal time of the given CPUs in `/proc/stat`; of all CPUs where it does not list them
/// individually.
fn of_cpus(text: &str, cpus: &[u32]) -> Option<(u64, u64, u64)> {
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        // user nice system idle iowait irq softirq steal; guest time is included in the first two.
        let times: Vec<u64> = line.split_whitespace().map_while(|time| time.parse().ok()).take(8).collect();
        let idle = times.get(3)? + times.get(4).unwrap_or(&0);
        let stolen = times.get(7).copied().unwrap_or(0);
        let all: u64 = times.iter().sum();
        Some((all, all - idle - stolen, stolen))
    };
    let each: Option<Vec<_>> = cpus.iter().map(|cpu| line(&format!("cpu{cpu}"))).collect();
    let each = each.filter(|each| !each.is_empty()).or_else(|| Some(vec![line("cpu")?]))?;
    Some(each.iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)))
}

/// CPU time of a process from its `stat`, user and system.
fn of_process(text: &str) -> Option<u64> {
    // The second field is the program's name, which may contain blanks and brackets.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Run time and wait time of this process's threads.
fn of_threads(root: &Root) -> Option<(u64, u64)> {
    let threads = root.names("/proc/self/task");
    let times = threads.iter().filter_map(|thread| {
        let text = root.read(format!("/proc/self/task/{thread}/schedstat"))?;
        let mut fields = text.split_whitespace();
        Some((fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?))
    });
    times.reduce(|sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    /// Noise of a process that ran for 100 ticks of 10 ms on each of two CPUs of four, while its threads waited for a
    /// fifth of that; `other` and `stolen` are ticks on its CPUs, `throttled` how often its quota was used up.
    fn noise(name: &str, other: u64, stolen: u64, throttled: u64) -> Noise {
        let tree = Tree::new(
            name,
            &[
                (
                    "/proc/stat",
                    "cpu  9 9 9 9\ncpu0 50 0 0 50 0 0 0 0\ncpu1 50 0 0 50 0 0 0 0\ncpu2 0 0 0 9 0 0 0 0\n",
                ),
                ("/proc/self/stat", "7 (a (b) c) R 1 1 1 0 -1 4 9 0 0 0 30 10 0 0 20"),
                ("/proc/self/task/7/schedstat", "1000 10 1\n"),
                ("/proc/self/task/8/schedstat", "1000 10 1\n"),
                ("/proc/self/cgroup", "0::/\n"),
                ("/proc/self/mountinfo", "29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
                ("/sys/fs/cgroup/cpu.stat", "nr_throttled 5\n"),
            ],
        );
        let before = Snapshot::take(&tree.root, &[0, 1]);
        let idle = 150 - other - stolen;
        tree.write(
            "/proc/stat",
            &format!(
                "cpu0 150 {other} 0 {} 0 0 0 {stolen}\ncpu1 150 0 0 50 0 0 0 0\ncpu2 900 0 0 9\n",
                50 + idle
            ),
        );
        tree.write("/proc/self/stat", "7 (a (b) c) R 1 1 1 0 -1 4 9 0 0 0 200 40 0 0 20");
        tree.write("/proc/self/task/8/schedstat", "801000 200010 1\n");
        tree.write("/sys/fs/cgroup/cpu.stat", &format!("nr_throttled {}\n", 5 + throttled));
        Snapshot::take(&tree.root, &[0, 1]).since(&before)
    }

    #[test]
    fn a_quiet_machine_is_quiet_whatever_happens_on_other_cpus() {
        let quiet = noise("quiet", 0, 0, 0);
        assert_eq!(
            quiet,
            Noise {
                others_percent: Some(0),
                steal_percent: Some(0),
                waiting_percent: Some(20),
                is_throttled: false
            }
        );
        assert!(!quiet.is_loud(), "its threads waited for each other only");
    }

    #[test]
    fn other_processes_and_other_guests_are_loud() {
        let others = noise("others", 100, 0, 0);
        assert_eq!(others.others_percent, Some(28));
        assert!(others.is_loud());
        let stolen = noise("stolen", 0, 100, 0);
        assert_eq!((stolen.steal_percent, stolen.others_percent), (Some(28), Some(0)));
        assert!(stolen.is_loud());
        assert!(others.to_string().starts_with("other processes used 28 % of its CPUs' time"), "{others}");
    }

    #[test]
    fn waiting_for_the_own_quota_is_no_noise() {
        let throttled = noise("throttled", 0, 0, 3);
        assert_eq!((throttled.waiting_percent, throttled.is_throttled), (None, true));
        assert!(!throttled.is_loud());
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let tree = Tree::new("unknown", &[]);
        let noise = Snapshot::take(&tree.root, &[0]).since(&Snapshot::default());
        assert_eq!(noise, Noise::default());
        assert!(!noise.is_loud());
        assert_eq!(noise.to_string(), "nothing is known of other work");
    }

    #[test]
    fn this_process_uses_time_of_its_own() {
        let root = Root::system();
        let before = Snapshot::take(&root, &[]);
        let Some((ran_before, _)) = before.threads else { return eprintln!("skipped: no schedstat here") };
        let mut number = 1_u64;
        for step in 0..50_000_000_u64 {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
        }
        let after = Snapshot::take(&root, &[]);
        assert!(after.threads.unwrap().0 > ran_before, "{before:?} {after:?}");
        let noise = after.since(&before);
        assert!(noise.others_percent.is_none_or(|percent| percent <= 100), "{noise:?}");
    }
}
