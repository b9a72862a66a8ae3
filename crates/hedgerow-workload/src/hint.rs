//! Errors with a hint on how to fix them.

use std::error::Error;
use std::fmt;

/// An error with a hint: what the user can do about it.
#[derive(Debug)]
pub struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Hinted {}

/// Creates an error that is printed with a hint below it.
pub fn hinted(message: impl fmt::Display, hint: impl fmt::Display) -> anyhow::Error {
    Hinted { message: message.to_string(), hint: hint.to_string() }.into()
}

/// The hint of an error, if one of its causes has one.
pub fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| cause.downcast_ref::<Hinted>().map(|hinted| hinted.hint.clone()))
}

/// The most similar known word, if any is similar enough.
pub fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |known: &String| strsim::damerau_levenshtein(name, known);
    // An abbreviation is more likely than a typing error.
    if let Some(whole) = known.iter().find(|known| known.starts_with(name)) {
        return Some(whole);
    }
    let nearest = known.iter().min_by_key(|known| distance(known))?;
    // With more than half of the letters wrong, it is another word.
    (distance(nearest) <= name.len().max(nearest.len()) / 2).then_some(nearest)
}
