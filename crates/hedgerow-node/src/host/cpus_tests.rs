//! Tests machines of several kinds, laid out as files.

use super::super::tests::Tree;
use super::*;

/// Builds a machine with the given online and allowed CPUs, and one or two hardware threads per core.
fn machine(name: &str, online: &str, allowed: &str, per_core: u32) -> Tree {
    let tree = Tree::new(name, &[]);
    tree.write("/sys/devices/system/cpu/online", online);
    tree.write("/proc/thread-self/status", &format!("Name:\tx\nCpus_allowed_list:\t{allowed}\n"));
    for cpu in number_list(online).unwrap() {
        let first = cpu / per_core * per_core;
        let siblings = format!("{first}-{}\n", first + per_core - 1);
        tree.write(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), &siblings);
    }
    tree
}

fn threads(tree: &Tree) -> (u32, String, Option<Vec<u32>>) {
    let Threads { count, reason, pin_to } = Cpus::read(&tree.root).threads(None);
    (count, reason.to_string(), pin_to)
}

#[test]
fn every_core_of_a_plain_machine_is_used() {
    let tree = machine("plain", "0-3", "0-3", 1);
    assert_eq!(threads(&tree), (4, "one for each core of the machine".to_owned(), None));
}

#[test]
fn affinity_limits_and_is_named() {
    let tree = machine("affinity", "0-7", "2-3,40", 1);
    let (count, reason, pin_to) = threads(&tree);
    assert_eq!((count, pin_to), (2, None));
    assert_eq!(reason, "because the process's affinity allows 2 of 8 CPUs");
}

#[test]
fn two_hardware_threads_of_a_core_get_one_thread() {
    let tree = machine("smt", "0-7", "0-7", 2);
    let (count, reason, pin_to) = threads(&tree);
    assert_eq!((count, pin_to), (4, None));
    assert!(reason.contains("hardware threads of 4 cores"), "{reason}");
    let tree = machine("smt-half", "0-7", "0,2,4", 2);
    assert_eq!(threads(&tree).0, 3, "their siblings are not ours, so each is a whole core");
}

#[test]
fn a_quota_is_rounded_down_but_never_to_nothing() {
    for (max, count) in [("250000 100000", 2), ("199000 100000", 1), ("50000 100000", 1), ("max 100000", 4)] {
        let tree = machine("quota", "0-3", "0-3", 1);
        tree.write("/proc/self/cgroup", "0::/a\n");
        tree.write("/proc/self/mountinfo", "29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        tree.write("/sys/fs/cgroup/a/cpu.max", max);
        let (threads, reason, _) = threads(&tree);
        assert_eq!(threads, count, "{max}");
        assert_eq!(reason.contains("/sys/fs/cgroup/a/cpu.max"), count < 4, "{reason}");
    }
}

#[test]
fn only_performance_cores_of_an_intel_hybrid_are_used_and_threads_stay_on_them() {
    // Two performance cores with two hardware threads each, four efficient ones.
    let tree = machine("hybrid", "0-7", "0-7", 1);
    for cpu in 0..4 {
        let siblings = if cpu < 2 { "0-1" } else { "2-3" };
        tree.write(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list"), siblings);
    }
    tree.write("/sys/devices/cpu_core/cpus", "0-3\n");
    tree.write("/sys/devices/cpu_atom/cpus", "4-7\n");
    let (count, reason, pin_to) = threads(&tree);
    assert_eq!((count, pin_to), (2, Some(vec![0, 1, 2, 3])), "{reason}");
    tree.write("/proc/thread-self/status", "Cpus_allowed_list:\t5-6\n");
    assert_eq!(threads(&tree).0, 2, "efficient cores are better than none");
}

#[test]
fn only_big_cores_of_a_board_are_used() {
    let tree = machine("big-little", "0-7", "0-7", 1);
    for cpu in 0..8 {
        let capacity = ["381", "381", "381", "381", "870", "870", "870", "1024"][cpu];
        tree.write(&format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity"), capacity);
    }
    let (count, reason, pin_to) = threads(&tree);
    assert_eq!((count, pin_to), (4, Some(vec![4, 5, 6, 7])));
    assert!(reason.contains("4 of 8 usable CPUs are fast"), "{reason}");
}

#[test]
fn what_the_operator_asks_for_wins() {
    let tree = machine("asked", "0-7", "0-1", 2);
    let asked = Cpus::read(&tree.root).threads(Some(6));
    assert_eq!((asked.count, asked.reason, asked.pin_to), (6, ThreadReason::Asked, None));
}

#[test]
fn a_machine_that_says_nothing_has_as_many_threads_as_the_standard_library_says() {
    let tree = Tree::new("silent", &[]);
    let cpus = Cpus::read(&tree.root);
    assert_eq!(cpus.threads(None).count, by_the_standard_library());
    assert_eq!((cpus.model, cpus.quota), (None, None));
}

#[test]
fn this_machine_has_a_core_that_threads_can_be_kept_on() {
    let cpus = Cpus::read(&Root::system());
    assert!(cpus.threads(None).count >= 1 && !cpus.fast.is_empty(), "{cpus:?}");
    let pinned = std::thread::spawn(move || {
        let is_pinned = pin_this_thread(&cpus.fast[..1]);
        (is_pinned, Cpus::read(&Root::system()).allowed, cpus.fast[0])
    });
    let (is_pinned, allowed, first) = pinned.join().unwrap();
    assert!(!is_pinned || allowed == [first], "{allowed:?}");
}

#[test]
fn a_processor_is_named_as_well_as_it_can_be() {
    assert_eq!(name("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"), Some("AMD EPYC"));
    assert_eq!(name("processor\t: 0\nCPU part\t: 0xd0b\n"), Some("0xd0b"));
    assert_eq!(name(""), None);
    assert_eq!(features("flags\t: fma avx2\n"), ["fma", "avx2"]);
}
