//! Sweeps: a grid or a list of changes to a scenario, for several policies and seeds.
//!
//! A sweep file ([`Sweep::load`]) becomes a list of [`Cell`]s, each a complete scenario. [`Sweep::play`] plays them
//! on several threads; each results in a [`Row`]. A [`Journal`] stores the rows as they finish, so that an
//! interrupted sweep can resume. Rows form a [`Table`] in the order of the cells, not of completion, so the same
//! sweep gives the same bytes.

mod cell;
mod change;
mod error;
mod file;
mod journal;
mod play;
mod row;
mod table;
mod write;

pub use cell::Cell;
pub use error::SweepError;
pub use file::Sweep;
pub use journal::Journal;
pub use row::{Field, Row};
pub use table::Table;

#[cfg(test)]
mod tests;
