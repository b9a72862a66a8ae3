//! Errors that say the way out.

use std::fmt;

use crate::models::ModelError;

/// An error with a hint: what the user can do about it.
#[derive(Debug)]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// An error that will be printed with a hint beneath it.
pub(crate) fn hinted(message: impl fmt::Display, hint: impl fmt::Display) -> anyhow::Error {
    Hinted { message: message.to_string(), hint: hint.to_string() }.into()
}

/// Prints an error as users see it: what is wrong, where, and the way out.
pub(crate) fn print(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
    if let Some(hint) = of(error) {
        eprintln!("\nhint: {hint}");
    }
}

/// The way out of an error, if it says one.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(hint_of)
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let hinted = cause.downcast_ref::<Hinted>().map(|hinted| hinted.hint.clone());
    hinted.or_else(|| cause.downcast_ref::<ModelError>().map(|error| error.hint()))
}
