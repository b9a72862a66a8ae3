//! Checks the system's limits: open files, priority, the disk, the port, the clock.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};

use super::{Examined, Finding, mb};
use crate::models;

/// Runs all checks of this kind.
pub(super) fn all(examined: &Examined<'_>) -> Vec<Finding> {
    let mut findings = vec![descriptors(examined), priority(), locked_memory(), cgroup(examined)];
    findings.extend(cache());
    findings.extend([port(examined), clock(), clock_source(examined)]);
    findings
}

/// Open files in addition to one for each connection: libraries, the log, models, recordings.
const OTHER_FILES: u64 = 64;

fn descriptors(examined: &Examined<'_>) -> Finding {
    let queue = examined.config.settings.queue_capacity as u64 + u64::from(examined.config.engine.parallel);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < queue + OTHER_FILES {
        return Finding::warning(
            "open files",
            format!("at most {limit}, fewer than the {queue} requests that may be here at once"),
            "raise `ulimit -n` or LimitNOFILE, or lower --max-queue",
        );
    }
    Finding::ok("open files", format!("at most {limit}"))
}

fn priority() -> Finding {
    let limit = getrlimit(Resource::Rtprio).current.unwrap_or(u64::MAX);
    if limit > 0 || rustix::process::geteuid().is_root() {
        return Finding::ok("real-time priority", "allowed: refusals do not wait for the engine");
    }
    Finding::warning(
        "real-time priority",
        "not allowed: refusals may wait for the engine's threads",
        "raise `ulimit -r` or LimitRTPRIO to 1",
    )
}

fn locked_memory() -> Finding {
    let limit = getrlimit(Resource::Memlock).current;
    let limit = limit.map_or("without limit".to_owned(), |bytes| format!("at most {}", mb(bytes)));
    Finding::ok("locked memory", format!("{limit}; models are mapped and not locked"))
}

fn cgroup(examined: &Examined<'_>) -> Finding {
    let quota = match &examined.cpus.quota {
        Some(quota) => format!("{} CPUs by {}", quota.cpus, quota.file.display()),
        None => "no CPU quota".to_owned(),
    };
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("none");
    Finding::ok("control group", format!("{path}: {quota}"))
}

/// Free disk space below this is little compared with a model.
const DISK_LOW: u64 = 1_000_000_000;

fn cache() -> Vec<Finding> {
    let Ok(folder) = models::cache_folder() else { return Vec::new() };
    let place = folder.display();
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&probe, b"doctor"));
    // The file may not have been created.
    let _ = fs::remove_file(&probe);
    if let Err(error) = written {
        return vec![Finding::warning(
            "cache",
            format!("{place} cannot be written to: {error}"),
            "name another folder in HEDGEROW_CACHE: without one every start measures and checks anew",
        )];
    }
    let free = rustix::fs::statvfs(&folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    vec![match free {
        Ok(free) if free < DISK_LOW => Finding::warning(
            "cache",
            format!("{place} has only {} free", mb(free)),
            "make room, or name another folder in HEDGEROW_CACHE",
        ),
        Ok(free) => Finding::ok("cache", format!("{place}, {} free", mb(free))),
        Err(_) => Finding::ok("cache", place.to_string()),
    }]
}

fn port(examined: &Examined<'_>) -> Finding {
    let server = &examined.config.server;
    let address = format!("{}:{}", server.host, server.port);
    match TcpListener::bind((server.host.as_str(), server.port)) {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(error) => Finding::error(
            "port",
            format!("{address} cannot be listened on: {error}"),
            "stop what listens there (perhaps a server that already runs), or take another --port or --host",
        ),
    }
}

/// January 1, 2026: this program is newer.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

fn clock() -> Finding {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if now < EARLIEST {
        return Finding::warning(
            "clock",
            "the system's date is before this program was made",
            "set the clock: certificates of servers that models come from will not be valid yet",
        );
    }
    Finding::ok("clock", "the date is plausible; deadlines are kept by the monotonic clock")
}

fn clock_source(examined: &Examined<'_>) -> Finding {
    const FILE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = examined.root.read(FILE);
    match source.as_deref().map(str::trim) {
        Some(slow @ ("hpet" | "acpi_pm" | "jiffies")) => Finding::warning(
            "clock source",
            format!("{slow}, which takes microseconds to read"),
            "let the kernel use the processor's own counter (tsc), if the machine has a good one",
        ),
        Some(source) => Finding::ok("clock source", source),
        None => Finding::ok("clock source", "the system does not say"),
    }
}
