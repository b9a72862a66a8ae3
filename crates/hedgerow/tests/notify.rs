//! Tests of a server's start and stop: notifications to the service manager, received by a socket like systemd's,
//! and signals.

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// The service manager's end of the protocol.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hedgerow-notify-{}-{name}", std::process::id()));
        let socket = UnixDatagram::bind(&path).expect("a socket can be made");
        socket.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout can be set");
        Self { socket, path }
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message comes");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// The messages up to the first with this line, and that one.
    fn until(&self, wanted: &str) -> Vec<Vec<String>> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|lines: &Vec<String>| lines.iter().any(|line| line == wanted)) {
            heard.push(self.next());
        }
        heard
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // A file left in the folder for temporary files is harmless.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn has(lines: &[String], start: &str) -> bool {
    lines.iter().any(|line| line.starts_with(start))
}

#[test]
fn the_service_manager_is_notified_of_start_watchdog_and_stop() {
    let manager = Manager::new("whole");
    let socket = manager.path.to_str().expect("its path is text").to_owned();
    // A watchdog of 0.4 s: a notification every 0.2 s.
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "400000")];
    let Some(server) = support::Server::start_with(&[], &variables) else { return };
    let start = manager.until("READY=1");
    let (ready, before) = start.split_last().expect("it is among them");
    assert!(has(ready, "STATUS=serving http://127.0.0.1:"), "{ready:?}");
    assert!(before.iter().any(|lines| has(lines, "STATUS=loading ")), "{before:?}");
    assert!(before.iter().all(|lines| has(lines, "EXTEND_TIMEOUT_USEC=")), "{before:?}");
    for _ in 0..3 {
        assert_eq!(manager.next(), ["WATCHDOG=1"]);
    }
    assert!(server.terminate(), "a clean end");
    let stopping = manager.until("STOPPING=1").pop().expect("it is among them");
    // The grace of 30 s by default, and 30 s more.
    assert!(has(&stopping, "EXTEND_TIMEOUT_USEC=60000000"), "{stopping:?}");
}

#[test]
fn a_process_without_a_watchdog_sends_no_watchdog_notifications() {
    let manager = Manager::new("no-watchdog");
    let socket = manager.path.to_str().expect("its path is text").to_owned();
    // A watchdog of another process, whose variables were inherited.
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let Some(server) = support::Server::start_with(&[], &variables) else { return };
    manager.until("READY=1");
    assert!(server.terminate(), "a clean end");
    let heard = manager.until("STOPPING=1");
    assert!(heard.iter().all(|lines| !has(lines, "WATCHDOG=")), "{heard:?}");
}

/// Starts a server and sends it SIGINT this long after it listens; returns how it ended.
fn interrupt_after(delay: Duration, model: &Path) -> ExitStatus {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("serve")
        .arg(model)
        .args(["--port", "0"])
        .env("HEDGEROW_CACHE", support::CACHE)
        .env("HEDGEROW_BATCH_FOLDER", "none")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let listens = lines.by_ref().map_while(Result::ok).any(|line| line.contains("listening; answers 503"));
    assert!(listens, "the server says where it listens");
    std::thread::sleep(delay);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    lines.map_while(Result::ok).for_each(|line| eprintln!("server: {line}"));
    child.wait().expect("it ends")
}

#[test]
fn a_server_that_is_stopped_while_it_starts_ends_with_success() {
    let Some(model) = support::model() else { return };
    let _turn = support::alone();
    // Before the model is read, while it is read and checked, while the engine is made, and when it serves.
    for delay_ms in (0..20).map(|step| 25 * step).chain([0; 20]) {
        let status = interrupt_after(Duration::from_millis(delay_ms), &model);
        assert!(status.success(), "after {delay_ms} ms: {status}");
    }
}
