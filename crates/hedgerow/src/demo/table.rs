//! What the callers got, per class and policy.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use hedgerow_core::scheduler::Policy;
use serde_json::{Value, json};

use super::load::CLASSES;
use super::{Arrival, Class};

/// What one caller heard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// Told no, so long after asking.
    Refused { status: u16, after: Duration },
    /// An answer.
    Answered { first: Duration, whole: Duration, reason: String },
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) arrival: Arrival,
    pub(crate) heard: Heard,
}

/// One policy's run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) policy: Policy,
    pub(crate) rows: Vec<Row>,
}

/// What became of a set of requests, as the callers saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) offered: usize,
    pub(crate) met: usize,
    pub(crate) late: usize,
    pub(crate) turned_away: usize,
    ttft: Vec<Duration>,
}

impl Row {
    /// Whether the whole answer came within the deadline, by the caller's own clock.
    fn is_met(&self) -> bool {
        match &self.heard {
            Heard::Answered { whole, reason, .. } => {
                *whole <= self.arrival.class.deadline && reason != "deadline"
            }
            Heard::Refused { .. } => false,
        }
    }
}

impl Tally {
    fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let mut tally = Self::default();
        for row in rows {
            tally.offered += 1;
            match &row.heard {
                Heard::Refused { .. } => tally.turned_away += 1,
                Heard::Answered { first, .. } => {
                    tally.ttft.push(*first);
                    if row.is_met() {
                        tally.met += 1;
                    } else {
                        tally.late += 1;
                    }
                }
            }
        }
        tally.ttft.sort_unstable();
        tally
    }

    pub(crate) fn attainment(&self) -> f64 {
        if self.offered == 0 { 0.0 } else { self.met as f64 / self.offered as f64 }
    }

    /// A percentile of the time to first token by nearest rank.
    fn ttft(&self, percent: usize) -> Option<Duration> {
        (self.ttft.len() * percent).div_ceil(100).checked_sub(1).map(|index| self.ttft[index])
    }
}

impl Run {
    /// Each class with its tally, and all together last.
    pub(crate) fn tallies(&self) -> Vec<(&'static str, Tally)> {
        let of_class = |class: &Class| {
            let name = class.name;
            (name, Tally::of(self.rows.iter().filter(|row| row.arrival.class.name == name)))
        };
        CLASSES.iter().map(of_class).chain([("all", Tally::of(self.rows.iter()))]).collect()
    }
}

/// The table for people.
pub(crate) fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "policy",
        "class",
        "deadline",
        "offered",
        "met",
        "late",
        "turned away",
        "attainment",
        "TTFT p50",
        "TTFT p95",
    ]);
    for run in runs {
        for (class, tally) in run.tallies() {
            let deadline = CLASSES.iter().find(|known| known.name == class);
            let seconds = |span: Option<Duration>| {
                span.map_or("-".into(), |span| format!("{:.2} s", span.as_secs_f64()))
            };
            table.add_row([
                run.policy.to_string(),
                class.to_owned(),
                deadline.map_or("".into(), |class| format!("{} s", class.deadline.as_secs())),
                tally.offered.to_string(),
                tally.met.to_string(),
                tally.late.to_string(),
                tally.turned_away.to_string(),
                format!("{:.0} %", 100.0 * tally.attainment()),
                seconds(tally.ttft(50)),
                seconds(tally.ttft(95)),
            ]);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The same for machines.
pub(crate) fn json(runs: &[Run]) -> Value {
    let ms = |span: Option<Duration>| span.map(|span| (span.as_secs_f64() * 1e3).round());
    let runs = runs.iter().map(|run| {
        let classes = run.tallies().into_iter().map(|(class, tally)| {
            json!({
                "class": class, "offered": tally.offered, "met": tally.met, "late": tally.late,
                "turned_away": tally.turned_away, "attainment": tally.attainment(),
                "ttft_p50_ms": ms(tally.ttft(50)), "ttft_p95_ms": ms(tally.ttft(95)),
            })
        });
        json!({ "policy": run.policy.to_string(), "classes": classes.collect::<Vec<_>>() })
    });
    json!({ "runs": runs.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(heard: Heard) -> Row {
        Row { arrival: Arrival { at: Duration::ZERO, class: CLASSES[0], question: String::new() }, heard }
    }

    fn answered(whole_ms: u64, reason: &str) -> Row {
        let whole = Duration::from_millis(whole_ms);
        row(Heard::Answered { first: whole / 2, whole, reason: reason.into() })
    }

    #[test]
    fn whoever_was_refused_or_cut_off_stays_in_the_denominator() {
        let rows = [
            answered(1000, "length"),
            answered(2001, "length"),
            answered(1900, "deadline"),
            row(Heard::Refused { status: 429, after: Duration::ZERO }),
        ];
        let tally = Tally::of(rows.iter());
        assert_eq!((tally.offered, tally.met, tally.late, tally.turned_away), (4, 1, 2, 1));
        assert_eq!(tally.attainment(), 0.25);
        assert_eq!(tally.ttft(50), Some(Duration::from_millis(950)));
    }
}
