//! The demo's outcomes, per class and policy.

use comfy_table::{CellAlignment, Table, presets};
use hedgerow_loadgen::{Class, Outcome, Record, Tally};
use hedgerow_node::terminal::fitting;
use hedgerow_solver::Policy;
use serde_json::{Value, json};

use super::classes;

/// One policy's run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) policy: Policy,
    pub(crate) records: Vec<Record>,
}

/// The outcomes of a class, or of all classes combined.
struct Row {
    class: String,
    deadline: String,
    tally: Tally,
}

impl Row {
    fn of<'a>(class: Option<&Class>, classes: &[Class], records: impl Iterator<Item = &'a Record>) -> Self {
        let deadline = class.and_then(|class| class.deadline);
        Self {
            class: class.map_or("all", |class| &class.name).to_owned(),
            deadline: deadline.map_or(String::new(), |deadline| format!("{} s", deadline.as_secs())),
            tally: Tally::of(classes, records),
        }
    }

    /// The number of answers that were late, or cut at the deadline.
    fn late(&self) -> usize {
        self.tally.count_of(Outcome::Late) + self.tally.count_of(Outcome::Cut)
    }

    fn turned_away(&self) -> usize {
        self.tally.count_of(Outcome::Refused)
    }

    fn attainment(&self) -> f64 {
        self.tally.attainment().unwrap_or(0.0)
    }
}

impl Run {
    /// Returns a row for each class, and one for all classes last.
    fn rows(&self) -> Vec<Row> {
        let classes = classes();
        let of_class = |(index, class)| {
            let own = self.records.iter().filter(move |record| record.class == index);
            Row::of(Some(class), &classes, own)
        };
        let mut rows: Vec<Row> = classes.iter().enumerate().map(of_class).collect();
        rows.push(Row::of(None, &classes, self.records.iter()));
        rows
    }
}

/// Formats the runs as a table.
pub(crate) fn table(runs: &[Run]) -> String {
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
        for row in run.rows() {
            let seconds = |ms: Option<f64>| ms.map_or("-".into(), |ms| format!("{:.2} s", ms / 1e3));
            table.add_row([
                run.policy.to_string(),
                row.class.clone(),
                row.deadline.clone(),
                row.tally.offered.to_string(),
                row.tally.met().to_string(),
                row.late().to_string(),
                row.turned_away().to_string(),
                format!("{:.0} %", 100.0 * row.attainment()),
                seconds(row.tally.ttft.percentile(50)),
                seconds(row.tally.ttft.percentile(95)),
            ]);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    fitting(&table)
}

/// Returns the runs as JSON.
pub(crate) fn json(runs: &[Run]) -> Value {
    let runs = runs.iter().map(|run| {
        let classes = run.rows().into_iter().map(|row| {
            json!({
                "class": row.class, "offered": row.tally.offered, "met": row.tally.met(),
                "late": row.late(), "turned_away": row.turned_away(), "attainment": row.attainment(),
                "ttft_p50_ms": row.tally.ttft.percentile(50).map(f64::round),
                "ttft_p95_ms": row.tally.ttft.percentile(95).map(f64::round),
            })
        });
        json!({ "policy": run.policy.to_string(), "classes": classes.collect::<Vec<_>>() })
    });
    json!({ "runs": runs.collect::<Vec<_>>() })
}
