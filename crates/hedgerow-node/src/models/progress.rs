//! Reports the progress of a long file operation.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::console::Notes;

/// Progress of one activity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// The activity, as a participle: `downloading`, `unpacking`, `checking`.
    pub(crate) activity: &'a str,
    /// Name of the file.
    pub file: &'a str,
    /// Bytes processed so far.
    pub done: u64,
    /// Total bytes, if known.
    pub(crate) total: Option<u64>,
}

/// Callback for progress. Called for every piece of some tens of kilobytes, so it must be cheap.
pub type Report<'a> = &'a dyn Fn(Progress<'_>);

/// A bar on a terminal; elsewhere a plain line at the start and then every ten seconds.
///
/// The bar is drawn on standard error, since standard output is for results; lines are given to the caller.
pub struct Bar<'a> {
    notes: Notes<'a>,
    drawn: Option<ProgressBar>,
    activity: RefCell<String>,
    last_line: Cell<Option<Instant>>,
}

impl<'a> Bar<'a> {
    const LINE_EVERY: Duration = Duration::from_secs(10);

    /// Makes a bar, hidden until the first report; `notes` receives the lines where there is no terminal.
    pub fn new(notes: Notes<'a>) -> Self {
        Self {
            notes,
            drawn: std::io::stderr().is_terminal().then(ProgressBar::hidden),
            activity: RefCell::new(String::new()),
            last_line: Cell::new(None),
        }
    }

    /// Shows a report.
    pub fn show(&self, progress: Progress<'_>) {
        let is_new = *self.activity.borrow() != progress.activity;
        if is_new {
            progress.activity.clone_into(&mut self.activity.borrow_mut());
        }
        match &self.drawn {
            Some(bar) => draw(bar, progress, is_new),
            None => self.note_now_and_then(progress, is_new),
        }
    }

    /// Removes the bar from the terminal.
    pub fn finish(&self) {
        if let Some(bar) = &self.drawn {
            bar.finish_and_clear();
        }
    }

    fn note_now_and_then(&self, progress: Progress<'_>, is_new: bool) {
        let is_due = self.last_line.get().is_none_or(|last| last.elapsed() >= Self::LINE_EVERY);
        if is_new || is_due {
            self.last_line.set(Some(Instant::now()));
            (self.notes)(&line(progress));
        }
    }
}

fn draw(bar: &ProgressBar, progress: Progress<'_>, is_new: bool) {
    if let Some(total) = progress.total {
        bar.set_length(total);
    }
    bar.set_position(progress.done);
    if is_new {
        let template = match progress.total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("the template above is well-formed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        bar.reset_eta();
        bar.set_message(format!("{} {}", progress.activity, progress.file));
    }
}

fn line(progress: Progress<'_>) -> String {
    let Progress { activity, file, done, total } = progress;
    match total {
        Some(total) => format!("{activity} {file}: {} of {}", HumanBytes(done), HumanBytes(total)),
        None => format!("{activity} {file}: {}", HumanBytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_names_the_file_and_both_sizes() {
        let progress = Progress { activity: "downloading", file: "tiny.gguf", done: 1024, total: Some(4096) };
        assert_eq!(line(progress), "downloading tiny.gguf: 1.00 KiB of 4.00 KiB");
        assert_eq!(line(Progress { total: None, ..progress }), "downloading tiny.gguf: 1.00 KiB");
    }
}
