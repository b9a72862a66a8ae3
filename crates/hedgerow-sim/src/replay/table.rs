//! A text table of comparisons, side by side.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::{Comparison, Figures};

/// The format of a figure.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    Percent,
    PerSecond,
    Millis,
}

/// Selects the figure of a row.
type Pick = fn(&Figures) -> Option<f64>;

const ROWS: [(&str, Unit, Pick); 11] = [
    ("offered", Unit::Count, |figures| Some(figures.offered as f64)),
    ("met", Unit::Count, |figures| Some(figures.met as f64)),
    ("late", Unit::Count, |figures| Some(figures.late as f64)),
    ("turned away", Unit::Count, |figures| Some(figures.turned_away as f64)),
    ("other", Unit::Count, |figures| Some(figures.other as f64)),
    ("attainment", Unit::Percent, |figures| Some(figures.attainment)),
    ("admitted attainment", Unit::Percent, |figures| Some(figures.admitted_attainment)),
    ("goodput /s", Unit::PerSecond, |figures| Some(figures.goodput_per_s)),
    ("TTFT p50 ms", Unit::Millis, |figures| figures.ttft_p50_s),
    ("TPOT p50 ms", Unit::Millis, |figures| figures.tpot_p50_s),
    ("E2E p50 ms", Unit::Millis, |figures| figures.e2e_p50_s),
];

/// Formats the recorded figures and, for each replay, the simulated figures and their differences.
pub fn table(comparisons: &[Comparison]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let Some(first) = comparisons.first() else { return String::new() };
    let titles = comparisons.iter().flat_map(|comparison| [comparison.policy.clone(), "difference".into()]);
    table.add_row(["".to_owned(), "recorded".into()].into_iter().chain(titles));
    for (name, unit, pick) in ROWS {
        let recorded = pick(&first.recorded);
        let cells = comparisons.iter().flat_map(|comparison| {
            let simulated = pick(&comparison.simulated);
            [shown(unit, simulated), difference(unit, recorded, simulated)]
        });
        table.add_row([name.to_owned(), shown(unit, recorded)].into_iter().chain(cells));
    }
    let mut row = |name: &str, cell: &dyn Fn(&Comparison) -> String| {
        let cells = comparisons.iter().flat_map(|comparison| [cell(comparison), String::new()]);
        table.add_row([name.to_owned(), String::new()].into_iter().chain(cells));
    };
    row("same outcome", &|comparison| {
        format!("{} of {}", comparison.same_outcome, comparison.recorded.offered)
    });
    row("E2E off by p50 ms", &|comparison| shown(Unit::Millis, comparison.e2e_error_p50_s));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn shown(unit: Unit, value: Option<f64>) -> String {
    let Some(value) = value else { return "-".into() };
    match unit {
        Unit::Count => format!("{value:.0}"),
        Unit::Percent => format!("{:.1} %", value * 100.0),
        Unit::PerSecond => format!("{value:.3}"),
        Unit::Millis => format!("{:.1}", value * 1e3),
    }
}

fn difference(unit: Unit, recorded: Option<f64>, simulated: Option<f64>) -> String {
    let (Some(recorded), Some(simulated)) = (recorded, simulated) else { return "-".into() };
    let more = simulated - recorded;
    let part = if recorded > 0.0 { format!(" ({:+.0} %)", more / recorded * 100.0) } else { String::new() };
    match unit {
        Unit::Count => format!("{more:+.0}"),
        Unit::Percent => format!("{:+.1} points", more * 100.0),
        Unit::PerSecond => format!("{more:+.3}{part}"),
        Unit::Millis => format!("{:+.1}{part}", more * 1e3),
    }
}
