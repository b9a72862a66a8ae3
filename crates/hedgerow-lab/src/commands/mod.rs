//! The commands of the lab: for each its arguments, what they start, and what is printed.
//!
//! A command's result is what it prints: reports, tables and JSON, on standard output.

mod arrivals;
pub mod batch;
pub mod bench;
pub mod check;
pub mod evaluate;
pub mod figures;
pub mod instances;
pub mod list;
mod lists;
#[cfg(feature = "milp")]
mod milp;
pub mod plan;
pub mod profile;
pub mod quantize;
mod replay;
pub mod scenario;
pub mod show;
pub mod simulate;
pub mod solve;
mod solver;
pub mod sweep;

pub use lists::can_be_of;
