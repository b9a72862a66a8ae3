//! Errors with a hint on how to fix them.

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

/// Creates an error that is printed with a hint below it.
pub(crate) fn hinted(message: impl fmt::Display, hint: impl fmt::Display) -> anyhow::Error {
    Hinted { message: message.to_string(), hint: hint.to_string() }.into()
}

/// Prints an error for users: what is wrong, where, and the hint.
pub(crate) fn print(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
    if let Some(hint) = of(error) {
        eprintln!("\nhint: {hint}");
    }
}

/// The hint of an error, if it has one.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(hint_of)
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let hinted = cause.downcast_ref::<Hinted>().map(|hinted| hinted.hint.clone());
    hinted.or_else(|| cause.downcast_ref::<ModelError>().map(|error| error.hint()))
}
