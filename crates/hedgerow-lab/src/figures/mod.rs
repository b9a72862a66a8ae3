//! The figures of the documentation, reproduced from the scenarios in this program.
//!
//! A [`Figure`] is panels of curves over a sweep (`scenarios/figures/`); [`make()`] simulates the sweeps, draws, and
//! writes SVG, PNG, CSV and one HTML report. Nothing in them depends on the machine or on the clock: the same
//! program gives the same bytes. The solvers' times, which do depend on it, are made separately ([`times()`]).

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

/// A group of panels.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Its files' name, which begins with its letter: `a-arrival-rate`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The assumptions, and how to read it.
    pub(crate) caption: &'static str,
    pub(crate) parts: &'static [Part],
}

/// Panels over the cells of one sweep.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) sweep: &'static Embedded,
    pub(crate) x: Axis,
    /// The column with a panel for each of its values.
    pub(crate) panel: Option<&'static str>,
    pub(crate) lines: Lines,
    pub(crate) y: Measure,
    /// The label of the axis, and the title of the panel if it is the only one.
    pub(crate) label: &'static str,
    pub(crate) is_log_y: bool,
    /// Whether the paper claims its order of policies for it.
    pub(crate) is_claimed: bool,
}

/// The horizontal axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// A column of the sweep; of a range, such as `[0.5, 2.0]`, one end is used.
    pub(crate) column: &'static str,
    pub(crate) end: End,
    /// Its label in the figure.
    pub(crate) label: &'static str,
    pub(crate) is_log: bool,
}

/// An end of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Lower,
    Upper,
}

/// A sweep file embedded in this program.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// The curves of a panel.
#[derive(Debug)]
pub(crate) enum Lines {
    /// One for each value of a column.
    By(&'static str),
    /// One for each limit that can bind.
    Limits,
}

/// The vertical axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    /// A column, unchanged.
    Column(&'static str),
    /// A fraction in percent.
    Percent(&'static str),
    /// A count divided by the number of plans.
    PerPlan(&'static str),
    /// The percentage of plans in which the line's limit binds.
    Binding,
    /// By how many percent a count per plan is below that of another line.
    PercentBelow {
        /// The column of counts.
        column: &'static str,
        /// The other line.
        line: &'static str,
    },
}
