//! The figures of the documentation, made again from the scenarios in this program.
//!
//! A [`Figure`] is panels of curves over a sweep (`scenarios/figures/`); [`make()`] plays the sweeps, draws, and
//! writes SVG, PNG, CSV and one HTML report. Nothing in them depends on the machine or on the clock: the same
//! program gives the same bytes. What does, how long solvers take, is made apart ([`times()`]).

mod beyond;
mod claims;
mod curves;
mod draw;
mod make;
mod paper;
mod report;
mod times;

pub(crate) use beyond::BEYOND;
pub(crate) use make::{Chosen, make};
pub(crate) use paper::PAPER;
pub(crate) use times::times;

/// Some panels that belong together.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Its files' name, which begins with its letter: `a-arrival-rate`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What was assumed, and how to read it.
    pub(crate) caption: &'static str,
    pub(crate) parts: &'static [Part],
}

/// Panels over the cells of one sweep.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) sweep: &'static Embedded,
    pub(crate) x: Axis,
    /// Which column's values have a panel each.
    pub(crate) panel: Option<&'static str>,
    pub(crate) lines: Lines,
    pub(crate) y: Measure,
    /// What stands on the axis, and above the panel where it is the only one.
    pub(crate) label: &'static str,
    pub(crate) is_log_y: bool,
    /// Whether it is one where the paper's order of policies is to be seen.
    pub(crate) is_claimed: bool,
}

/// What stands along the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// A column of the sweep. Of a range, such as `[0.5, 2.0]`, one end counts.
    pub(crate) column: &'static str,
    pub(crate) end: End,
    /// Its name for people.
    pub(crate) label: &'static str,
    pub(crate) is_log: bool,
}

/// An end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Lower,
    Upper,
}

/// A sweep file in this program.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// What the curves of a panel are.
#[derive(Debug)]
pub(crate) enum Lines {
    /// One for each value of a column.
    By(&'static str),
    /// One for each limit that can bind.
    Limits,
}

/// What stands up the page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    /// A column as it is.
    Column(&'static str),
    /// A fraction in percent.
    Percent(&'static str),
    /// A count for each plan that was made.
    PerPlan(&'static str),
    /// Percent of the plans that the line's limit binds.
    Binding,
    /// By how many percent a count for each plan is less than that of a line.
    PercentBelow {
        /// What is counted.
        column: &'static str,
        /// The other line.
        line: &'static str,
    },
}
