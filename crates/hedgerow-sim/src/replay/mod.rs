//! Replay of recordings: exactly, or simulated with other settings.
//!
//! [`exactly`] gives a pipeline the recorded events at the recorded times, and finds the first difference.
//! [`simulate`] plays only the recorded arrivals, and a [`Comparison`] shows how far the simulated outcomes differ
//! from the recorded ones.

mod arrivals;
mod comparison;
mod exact;
mod step_times;
mod table;

pub use arrivals::{arrivals, simulate, unfinished};
pub use comparison::{Comparison, Figures};
pub use exact::{Difference, Differs, Identical, exactly};
pub use step_times::{StepTimes, slowdown, step_times};
pub use table::table as comparison_table;

#[cfg(test)]
mod tests;
