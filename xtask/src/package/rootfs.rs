//! A Debian system in a folder, in which packages are installed, used and removed without affecting this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::files;
use crate::shell::{Failure, Shell};

/// Packages for the check besides the minimal system: its service manager, the libraries that the package depends on,
/// and the programs that `run.sh` calls.
const INCLUDED: &str = "systemd,systemd-sysv,init-system-helpers,libgomp1,libstdc++6,curl,iproute2,procps";

/// A Debian system in a folder that is removed on drop.
#[derive(Debug)]
pub(super) struct Rootfs {
    folder: PathBuf,
}

impl Rootfs {
    /// Copies a freshly installed system of a Debian release and adds the inputs of the check in `/check`.
    pub(super) fn new(
        shell: &Shell,
        work: &Path,
        suite: &str,
        inputs: &[(&Path, &str)],
    ) -> Result<Rootfs, Failure> {
        let base = base(shell, work, suite)?;
        let rootfs = Rootfs { folder: work.join("rootfs") };
        rootfs.remove()?;
        shell
            .run_quietly(shell.program("cp").args(["-a", "--reflink=auto"]).arg(&base).arg(&rootfs.folder))?;
        for (from, to) in inputs {
            files::copy(from, &rootfs.folder.join(to))?;
        }
        files::set_modes(&rootfs.folder.join("check"), &|path| files::name_of(path) == "run.sh")?;
        files::set_modes(&rootfs.folder.join("srv"), &|_| false)?;
        Ok(rootfs)
    }

    /// Runs the check without a service manager, in a chroot with its own namespaces for processes and network.
    pub(super) fn check_by_hand(&self, shell: &Shell) -> Result<(), Failure> {
        let mut command = shell.program("unshare");
        command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c"]);
        // The mount is removed with its namespace.
        command.arg("mount -t proc proc \"$0/proc\" && exec chroot \"$0\" /check/run.sh by-hand");
        shell.run(command.arg(&self.folder).env_clear().env("PATH", SEARCH_PATH))
    }

    /// Boots the system with systemd and runs the check in it; `false` if a system cannot be booted on this machine.
    pub(super) fn check_with_systemd(&self, shell: &Shell) -> Result<bool, Failure> {
        let units = self.folder.join("etc/systemd/system");
        let wants = units.join("multi-user.target.wants");
        files::create_folder(&wants)?;
        files::copy_ours(shell, "packaging/check/check.service", &units.join("check.service"))?;
        symlink("../check.service", wants.join("check.service"))
            .map_err(files::failed("enabling the check in", &wants))?;
        let started = self.folder.join("check/started");
        if started.exists() {
            fs::remove_file(&started).map_err(files::failed("removing", &started))?;
        }
        let log = self.folder.join("check/boot.log");
        let outcome = shell.run(shell.program("sh").args(["-c", BOOT]).arg(&self.folder).arg(&log));
        let passed = self.folder.join("check/passed-with-systemd").exists();
        print!("{}", files::read(&self.folder.join("check/output")).unwrap_or_default());
        match outcome {
            Ok(()) if passed => Ok(true),
            _ if !started.exists() => {
                let console = files::read(&log).unwrap_or_default();
                let last: Vec<&str> = console.lines().rev().take(5).collect();
                println!(
                    "a system with systemd cannot be booted here; systemd-nspawn's console, last line first:"
                );
                last.iter().for_each(|line| println!("  | {line}"));
                Ok(false)
            }
            Ok(()) | Err(_) => Err(Failure::new(
                "the check failed in a system with systemd",
                "read what it printed above, after the last `--`",
            )),
        }
    }

    fn remove(&self) -> Result<(), Failure> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(files::failed("removing", &self.folder))?;
        }
        Ok(())
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        if let Err(failure) = self.remove() {
            eprintln!("{failure}");
        }
    }
}

const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Boots the system in the folder `$0` with its console output in `$1`.
///
/// On a machine with systemd, nspawn uses that. Elsewhere (in a container, or with another init process) it gets its
/// own control groups, which are removed afterwards, and its own /run/systemd in memory, which nspawn requires.
const BOOT: &str = r#"
set -eu
root=$0 log=$1
# A system that never shuts down must not block the checks.
limit_s=2400
boot() {
    timeout --kill-after=20 "$limit_s" \
        systemd-nspawn --quiet --directory="$root" --private-network --console=read-only --boot "$@" > "$log" 2>&1
}
if [ -d /run/systemd/system ]; then
    boot --register=no
    exit
fi
groups=
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir -p "$hierarchy/hedgerow-package-check"
    groups="$groups $hierarchy/hedgerow-package-check"
done
status=0
(
    for group in $groups; do sh -c 'echo $PPID' > "$group/cgroup.procs"; done
    export root log limit_s
    exec unshare --mount sh -c '
        mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/nspawn &&
        exec timeout --kill-after=20 "$limit_s" systemd-nspawn --quiet --directory="$root" --private-network \
            --console=read-only --boot --register=no --keep-unit > "$log" 2>&1'
) || status=$?
for group in $groups; do
    find "$group" -depth -type d -exec rmdir {} \; 2> /dev/null || true
done
exit "$status"
"#;

/// A freshly installed system, which is created once and stored with the build's files.
fn base(shell: &Shell, work: &Path, suite: &str) -> Result<PathBuf, Failure> {
    let folder = work.join(format!("base-{suite}"));
    let complete = work.join(format!("base-{suite}.complete"));
    let is_complete = files::read(&complete).is_ok_and(|included| included == INCLUDED);
    if is_complete && folder.is_dir() {
        return Ok(folder);
    }
    println!("package: installing the smallest Debian {suite} in {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(files::failed("removing", &folder))?;
    }
    files::create_folder(work)?;
    let mut debootstrap = shell.program("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={INCLUDED}"), suite]);
    shell.run_quietly(debootstrap.arg(&folder))?;
    // The downloaded packages are no longer needed.
    let _ = fs::remove_dir_all(folder.join("var/cache/apt/archives"));
    files::write(&complete, INCLUDED)?;
    Ok(folder)
}
