//! Writes down what the driver is told and whom it ends, on a thread of its own: decisions never wait for
//! the disk. Whatever goes wrong is logged once and ends the recording, not the service.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as WallInstant};

use hedgerow_core::Event;
use hedgerow_core::output::Record;
use hedgerow_core::time::Instant;
use hedgerow_sim::{Header, Line, What};

use crate::hint::hinted;

/// A server that is killed loses no more than this.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Lines that may wait for the disk: some seconds' worth. One more ends the recording, because a recording
/// with a hole could not be replayed.
const LINES_WAITING_MAX: usize = 8192;

/// Makes the file of a recording; a file that has something in it is left as it is.
///
/// # Errors
///
/// When it cannot be written, or is not empty.
pub(crate) fn create(path: &Path) -> anyhow::Result<File> {
    let opened = File::options().create(true).append(true).open(path);
    let length = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
    match length {
        Ok((0, file)) => Ok(file),
        Ok(_) => Err(hinted(
            format!("{} is there already, and a recording is not written over", path.display()),
            "give --record another name, or move the file away",
        )),
        Err(error) => Err(hinted(
            format!("cannot write a recording to {}: {error}", path.display()),
            "give --record a file in a folder that can be written to",
        )),
    }
}

/// The driver's end of a recording; without one, it does nothing.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    lines: Option<SyncSender<Line>>,
}

impl Recorder {
    /// Begins a recording. The thread ends, with everything written, once the recorder is gone.
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

    /// Notes an event that the pipeline is about to be told.
    pub(super) fn told(&mut self, at: Instant, event: &Event) {
        if self.lines.is_some() {
            self.note(Line { at, what: What::Event(event.clone()) });
        }
    }

    /// Notes a request that the event told last has ended.
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
            // The thread has said why it ended.
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
