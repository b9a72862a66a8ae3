//! Where a command writes: its result, and lines about its progress. The program says what becomes of them.

use std::io::Write;

use anyhow::Context as _;

/// Receives a line of text, without its line break, while a command runs.
pub type Notes<'a> = &'a dyn Fn(&str);

/// What a command writes to.
pub struct Console<'a> {
    /// The command's result.
    pub out: &'a mut dyn Write,
    /// All else: progress, warnings, hints.
    pub notes: Notes<'a>,
}

impl Console<'_> {
    /// Writes a part of the result.
    ///
    /// # Errors
    ///
    /// When it cannot be written, for example because its reader has closed the pipe.
    pub fn print(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.out.write_all(text.as_ref().as_bytes()).context("writing to standard output")
    }

    /// Writes a line of the result.
    ///
    /// # Errors
    ///
    /// As [`Console::print`].
    pub fn print_line(&mut self, text: impl std::fmt::Display) -> anyhow::Result<()> {
        writeln!(self.out, "{text}").context("writing to standard output")
    }

    /// Writes a line that is not part of the result.
    pub fn note(&self, text: impl AsRef<str>) {
        (self.notes)(text.as_ref());
    }
}
