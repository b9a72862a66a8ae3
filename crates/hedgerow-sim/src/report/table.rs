//! A text table of reports, side by side.

use std::collections::BTreeSet;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::{Quantiles, Report};

/// Selects the quantiles of a row.
type Pick = fn(&Report) -> Quantiles;

/// Formats reports as a table with one column per report and one row per metric.
pub fn table(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |name: &str, cell: &dyn Fn(&Report) -> String| {
        table.add_row(std::iter::once(name.to_owned()).chain(reports.iter().map(cell)));
    };
    row("policy", &|report| report.policy.clone());
    row("offered", &|report| report.offered.to_string());
    row("met", &|report| report.met.to_string());
    row("late", &|report| report.late.to_string());
    row("turned away", &|report| report.turned_away.to_string());
    row("other", &|report| report.other.to_string());
    row("admitted", &|report| report.admitted.to_string());
    row("attainment", &|report| percent(report.attainment));
    row("admitted attainment", &|report| percent(report.admitted_attainment));
    row("goodput /s", &|report| format!("{:.3}", report.goodput_per_s));
    row("met /epoch", &|report| number(report.met_per_epoch));
    let spans: [(&str, Pick); 3] =
        [("TTFT", |report| report.ttft_s), ("TPOT", |report| report.tpot_s), ("E2E", |report| report.e2e_s)];
    for (name, quantiles) in spans {
        row(&format!("{name} p50 ms"), &|report| millis(quantiles(report).p50));
        row(&format!("{name} p95 ms"), &|report| millis(quantiles(report).p95));
        row(&format!("{name} p99 ms"), &|report| millis(quantiles(report).p99));
    }
    row("tokens", &|report| report.tokens.to_string());
    row("plans", &|report| report.plans.to_string());
    row("plans proven best", &|report| report.plans_proven.to_string());
    row("tree nodes", &|report| report.nodes.to_string());
    row("requests /plan", &|report| number(report.requests_per_plan));
    row("requests /step", &|report| number(report.requests_per_step));
    let limits: BTreeSet<_> = reports.iter().flat_map(|report| report.binding.keys()).collect();
    for limit in limits {
        row(&format!("plans bound by {limit}"), &|report| {
            report.binding.get(limit).map_or("0".into(), u64::to_string)
        });
    }
    let reasons: BTreeSet<_> = reports.iter().flat_map(|report| report.rejections.keys()).collect();
    for reason in reasons {
        row(&format!("refused: {reason}"), &|report| {
            report.rejections.get(reason).map_or("0".into(), u64::to_string)
        });
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(none, |value| format!("{value:.2}"))
}

fn millis(seconds: Option<f64>) -> String {
    seconds.map_or_else(none, |seconds| format!("{:.1}", seconds * 1e3))
}

fn none() -> String {
    "-".into()
}
