//! Runs a child process with a time limit and captures its output and how it ended.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Exited by itself, with this status.
    Exited(i32),
    /// Ended by this signal.
    Signal(i32),
    /// Exceeded its time limit and was killed.
    TimedOut(Duration),
    /// Could not be started.
    NotStarted(String),
}

/// Result of a child process that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) end: End,
    /// Complete lines of standard output.
    pub(super) lines: Vec<String>,
    /// The end of its standard error.
    pub(super) complaint: String,
}

/// Interval at which a running child is polled.
const LOOK: Duration = Duration::from_millis(5);
/// How long its pipes are read after its end: processes that it started may keep them open.
const REST: Duration = Duration::from_secs(5);
/// Maximum number of bytes of standard error that are retained.
const COMPLAINT_BYTES: usize = 4096;

/// Runs a command to its end, or kills its process group after `limit`.
pub(super) fn run(mut command: Command, limit: Duration) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The child does not depend on the working directory or the language of the server's environment.
    command.current_dir("/").env("LC_ALL", "C").env("GGML_NO_BACKTRACE", "1").process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let end = End::NotStarted(error.to_string());
            return Ended { end, lines: Vec::new(), complaint: String::new() };
        }
    };
    let lines = read(child.stdout.take(), |stream, send| {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.for_each(send);
    });
    let complaint = read(child.stderr.take(), |mut stream, send| {
        let mut piece = vec![0; COMPLAINT_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            send(String::from_utf8_lossy(&piece[..count]).into_owned());
        }
    });
    let end = wait(&mut child, limit);
    let rest = Instant::now() + REST;
    let lines = collect(&lines, rest);
    let complaint = collect(&complaint, rest).concat();
    let from = complaint.ceil_char_boundary(complaint.len().saturating_sub(COMPLAINT_BYTES));
    Ended { end, lines, complaint: complaint[from..].trim().to_owned() }
}

/// Reads a stream in pieces on a separate thread until all writers have closed it.
fn read<S: Read + Send + 'static>(
    stream: Option<S>,
    pieces: impl FnOnce(S, &dyn Fn(String)) + Send + 'static,
) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stream) = stream {
        // The receiver may be gone when a process that outlived the child writes.
        std::thread::spawn(move || pieces(stream, &|piece| _ = sender.send(piece)));
    }
    receiver
}

/// Collects all pieces, waiting for the last one no longer than `until`.
fn collect(pieces: &Receiver<String>, until: Instant) -> Vec<String> {
    let next = || pieces.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

fn wait(child: &mut Child, limit: Duration) -> End {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return end_of(status),
            Ok(None) if started.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => break,
            Err(error) => {
                kill(child);
                return End::NotStarted(error.to_string());
            }
        }
    }
    kill(child);
    End::TimedOut(limit)
}

/// Kills the child and its process group.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // The child may just have ended, together with its group.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = child.kill();
    let _ = child.wait();
}

fn end_of(status: ExitStatus) -> End {
    match status.signal() {
        Some(signal) => End::Signal(signal),
        None => End::Exited(status.code().unwrap_or_default()),
    }
}

/// Names of signals.
const SIGNALS: [(Signal, &str); 10] = [
    (Signal::ILL, "SIGILL (illegal instruction)"),
    (Signal::SEGV, "SIGSEGV (wrong memory)"),
    (Signal::FPE, "SIGFPE (wrong arithmetic)"),
    (Signal::ABORT, "SIGABRT (it gave up)"),
    (Signal::BUS, "SIGBUS (memory that could not be read)"),
    (Signal::TRAP, "SIGTRAP"),
    (Signal::SYS, "SIGSYS (a system call that is not allowed)"),
    (Signal::KILL, "SIGKILL (perhaps for lack of memory)"),
    (Signal::INT, "SIGINT"),
    (Signal::TERM, "SIGTERM"),
];

/// Formats a signal's name, such as `SIGILL (illegal instruction)`.
pub(super) fn signal_name(signal: i32) -> String {
    let known = SIGNALS.iter().find(|(known, _)| known.as_raw() == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// Whether a signal is caused by what the process itself did.
pub(super) fn is_own_fault(signal: i32) -> bool {
    SIGNALS[..7].iter().any(|(known, _)| known.as_raw() == signal)
}

/// Whether the signal would recur: aborts and unreadable memory may come from exhausted memory or a failing disk.
pub(super) fn is_lasting(signal: i32) -> bool {
    SIGNALS[..3].iter().any(|(known, _)| known.as_raw() == signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_child_said_before_a_signal_is_kept() {
        let ended = shell("echo one; echo two; echo oh >&2; kill -ILL $$", LONG);
        assert_eq!(ended.end, End::Signal(4));
        assert_eq!(
            (ended.lines.as_slice(), ended.complaint.as_str()),
            (["one", "two"].map(String::from).as_slice(), "oh")
        );
        assert_eq!(signal_name(4), "SIGILL (illegal instruction)");
        assert_eq!(signal_name(64), "signal 64");
    }

    #[test]
    fn a_child_that_hangs_is_killed_with_what_it_started() {
        let ended = shell("echo $$; sleep 1000 & sleep 1000", Duration::from_millis(300));
        assert_eq!(ended.end, End::TimedOut(Duration::from_millis(300)));
        let group = ended.lines[0].parse().ok().and_then(Pid::from_raw).unwrap();
        // A killed process takes a moment to end, and then remains as a zombie until it is reaped.
        let is_gone =
            || rustix::process::test_kill_process_group(group).is_err() || is_all_dead(&ended.lines[0]);
        let mut tries = 0..1_000;
        while !is_gone() {
            assert!(tries.next().is_some(), "a process of the group still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_all_dead(group: &str) -> bool {
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        let mut stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        !stats.any(|stat| {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            fields[2] == group && fields[0] != "Z"
        })
    }

    #[test]
    fn a_child_reads_nothing_and_depends_on_neither_folder_nor_language() {
        let ended = shell("cat; pwd; echo $LC_ALL; exit 3", LONG);
        assert_eq!((ended.end, ended.lines), (End::Exited(3), vec!["/".to_owned(), "C".to_owned()]));
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let ended = run(Command::new("/no/such/program"), LONG);
        assert!(matches!(ended.end, End::NotStarted(_)), "{ended:?}");
    }

    #[test]
    fn much_output_does_not_block_it_and_the_end_of_its_complaints_is_kept() {
        let ended = shell("seq 5000; seq 100000 >&2; echo end >&2", LONG);
        assert_eq!((ended.end, ended.lines.len()), (End::Exited(0), 5000));
        assert!(ended.complaint.len() <= COMPLAINT_BYTES && ended.complaint.ends_with("end"));
    }
}
