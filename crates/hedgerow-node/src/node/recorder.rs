//! Records the driver's events and ended requests on a separate thread, so that decisions never wait for the disk.
//! An error is logged once and ends the recording, not the service.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as WallInstant};

use hedgerow_core::Event;
use hedgerow_core::output::Record;
use hedgerow_core::time::Instant;
use hedgerow_workload::hint::hinted;
use hedgerow_workload::{Header, Line, What};

/// Flush interval: the most that a killed server loses of its recording.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Capacity of the queue of lines to write, enough for some seconds. Overflow ends the recording, because a recording
/// with a gap cannot be replayed.
const LINES_WAITING_MAX: usize = 8192;

/// The file of a new recording.
#[derive(Debug)]
pub struct RecordingFile {
    /// Path of the file, with the generated name if a folder was given.
    pub path: PathBuf,
    /// The file, empty and open for appending.
    pub file: File,
}

impl RecordingFile {
    /// Creates the file. If `path` is an existing folder or ends in `/`, the file is created in it and named by the
    /// time; a file that is not empty is left unchanged.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or is not empty.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let failed = |error: io::Error| {
            hinted(
                format!("cannot write a recording to {}: {error}", path.display()),
                "give --record a file, or a folder that can be written to",
            )
        };
        if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            std::fs::create_dir_all(path).map_err(failed)?;
            return in_folder(path).map_err(failed);
        }
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > 0 {
            return Err(hinted(
                format!("{} is there already, and a recording is not written over", path.display()),
                "give --record a folder, such as recordings/, for a new file each time; or another name",
            ));
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Removes the file, for a server that fails before it records anything.
    pub fn discard(self) {
        // A leftover empty file is harmless.
        let _ = std::fs::remove_file(self.path);
    }
}

/// Creates a file named by the time, to the second; a second file within one second gets a number appended.
fn in_folder(folder: &Path) -> io::Result<RecordingFile> {
    let start = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
    let mut number = 1;
    loop {
        let end = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("serve-{start}{end}.jsonl"));
        match File::options().create_new(true).append(true).open(&path) {
            Ok(file) => return Ok(RecordingFile { path, file }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The driver's side of a recording; does nothing if no recording is made.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    lines: Option<SyncSender<Line>>,
}

impl Recorder {
    /// Starts a recording. After the recorder is dropped, the thread writes the remaining lines and ends.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub(super) fn start(file: File, header: Header) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, lines) = mpsc::sync_channel(LINES_WAITING_MAX);
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            if let Err(error) = write(file, &header, &lines) {
                tracing::error!(%error, "the recording ends here; serving goes on");
            }
        })?;
        Ok((Self { lines: Some(sender) }, thread))
    }

    /// Records an event before the pipeline handles it.
    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        if self.lines.is_some() {
            self.note(Line { at, what: What::Event(event.clone()) });
        }
    }

    /// Records a request that was ended by the latest event.
    pub(super) fn ended(&mut self, at: Instant, record: &Record) {
        if self.lines.is_some() {
            self.note(Line { at, what: What::End(Box::new(record.clone())) });
        }
    }

    fn note(&mut self, line: Line) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(line) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => {
                tracing::error!("the disk is too slow: the recording ends here; serving goes on");
            }
            // The thread has logged why it ended.
            Err(TrySendError::Disconnected(_)) => {}
        }
        self.lines = None;
    }
}

fn write(file: File, header: &Header, lines: &Receiver<Line>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    header.write(&mut out)?;
    out.flush()?;
    let mut flushed = WallInstant::now();
    loop {
        let next = if out.buffer().is_empty() {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            lines.recv_timeout(FLUSH_AFTER.saturating_sub(flushed.elapsed()))
        };
        match next {
            Ok(line) => line.write(&mut out)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return out.flush(),
        }
        if flushed.elapsed() >= FLUSH_AFTER {
            out.flush()?;
            flushed = WallInstant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_sim::Scenario;
    use hedgerow_workload::Recording;

    use super::*;

    fn header() -> Header {
        let scenario =
            Scenario::parse(include_str!("../../../../scenarios/paper.toml")).expect("it is sound");
        let Scenario { node, settings, .. } = scenario;
        Header { version: "0".into(), started_unix_ms: 0, model: "small".into(), node, settings }
    }

    /// Waits until a condition holds; panics after about 10 s.
    fn wait_until(condition: impl Fn() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("never happened");
    }

    #[test]
    fn what_was_told_is_in_the_file_soon_and_whole_at_the_end() {
        let path = std::env::temp_dir().join(format!("hedgerow-recorder-{}.jsonl", std::process::id()));
        // A killed earlier run may have left the file.
        let _ = std::fs::remove_file(&path);
        let read = || Recording::read(std::fs::read(&path).expect("it is there").as_slice());
        let (mut recorder, thread) =
            Recorder::start(RecordingFile::create(&path).expect("it is new").file, header())
                .expect("a thread");
        recorder.event(Instant(1), &Event::Woke);
        wait_until(|| read().is_ok_and(|recording| recording.events.len() == 1));
        (2..500).for_each(|at| recorder.event(Instant(at), &Event::Woke));
        drop(recorder);
        thread.join().expect("it ends well");
        let recording = read().expect("a recording");
        assert_eq!((recording.events.len(), recording.damage), (499, None));
        let error = RecordingFile::create(&path).map(drop).expect_err("it has something in it").to_string();
        assert!(error.contains("is there already"), "{error}");
        std::fs::remove_file(&path).expect("the file is ours");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_the_recording_and_nothing_else() {
        let disk = RecordingFile::create(Path::new("/dev/full")).expect("it can be opened").file;
        let (mut recorder, thread) = Recorder::start(disk, header()).expect("a thread");
        thread.join().expect("an error, not a panic");
        recorder.event(Instant(1), &Event::Woke);
        assert!(recorder.lines.is_none());
        recorder.event(Instant(2), &Event::Woke);
    }

    #[test]
    fn a_disk_that_is_too_slow_ends_the_recording_instead_of_leaving_a_hole() {
        let (sender, lines) = mpsc::sync_channel(1);
        let mut recorder = Recorder { lines: Some(sender) };
        (1..4).for_each(|at| recorder.event(Instant(at), &Event::Woke));
        let written: Vec<_> = lines.iter().map(|line| line.at).collect();
        assert_eq!(written, [Instant(1)]);
    }
}
