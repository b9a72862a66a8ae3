//! Checks the paper's claim about the order of policies: `dftsp` ≥ static batching ≥ no batching.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_solver::Policy;
use serde::Serialize;

use super::curves::{Curve, Panel};
use super::make::Filled;

/// The result of the claim on one panel.
#[derive(Debug, Serialize)]
pub(super) struct Claim {
    pub(super) figure: &'static str,
    pub(super) panel: String,
    /// The number of points at which the policies are compared.
    pub(super) points: usize,
    /// The number of points at which `dftsp` serves no fewer requests than static batching.
    pub(super) dftsp_at_least_static: usize,
    /// The number of points at which static batching serves no fewer requests than no batching.
    pub(super) static_at_least_none: usize,
    /// The number of points at which `dftsp` serves no fewer requests than no batching.
    pub(super) dftsp_at_least_none: usize,
    /// The least and the greatest ratio of `dftsp`'s throughput to static batching's.
    pub(super) gain_least: Option<f64>,
    pub(super) gain_most: Option<f64>,
    /// The ratio of the sums over all points.
    pub(super) gain_mean: Option<f64>,
}

/// Returns the result for every panel that the claim is about.
pub(super) fn claims(figures: &[Filled<'_>]) -> Vec<Claim> {
    let claim = |filled: &Filled<'_>| {
        let claimed = filled.panels.iter().filter(|(part, _)| part.is_claimed);
        claimed.filter_map(|(_, panel)| Claim::of(filled.figure.name, panel)).collect::<Vec<_>>()
    };
    figures.iter().flat_map(claim).collect()
}

/// Formats the results as a table, a line for each panel.
pub(super) fn table(claims: &[Claim]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "figure",
        "panel",
        "places",
        "dftsp ≥ StB",
        "StB ≥ NoB",
        "dftsp ≥ NoB",
        "least",
        "most",
        "mean",
    ]);
    let times = |gain: Option<f64>| gain.map_or("-".to_owned(), |gain| format!("{gain:.2} ×"));
    for claim in claims {
        table.add_row([
            claim.figure.to_owned(),
            claim.panel.clone(),
            claim.points.to_string(),
            claim.dftsp_at_least_static.to_string(),
            claim.static_at_least_none.to_string(),
            claim.dftsp_at_least_none.to_string(),
            times(claim.gain_least),
            times(claim.gain_most),
            times(claim.gain_mean),
        ]);
    }
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// Explains the columns of [`table`], and gives their totals.
pub(super) fn verdict(claims: &[Claim]) -> String {
    let sum = |count: fn(&Claim) -> usize| claims.iter().map(count).sum::<usize>();
    let places = sum(|claim| claim.points);
    format!(
        "Of {places} places, dftsp serves no fewer than static batching (StB) at {}, StB no fewer than no batching\n\
         (NoB) at {}, and dftsp no fewer than NoB at {}. Least, most, mean: dftsp's throughput over StB's.\n",
        sum(|claim| claim.dftsp_at_least_static),
        sum(|claim| claim.static_at_least_none),
        sum(|claim| claim.dftsp_at_least_none),
    )
}

/// Formats the results as CSV.
///
/// # Errors
///
/// When a row cannot be written, which does not happen in memory.
pub(super) fn csv_of(claims: &[Claim]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for claim in claims {
        writer.serialize(claim)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

impl Claim {
    fn of(figure: &'static str, panel: &Panel) -> Option<Self> {
        let [dftsp, batches, none] = [
            curve(panel, |policy| policy == Policy::Dftsp)?,
            curve(panel, |policy| matches!(policy, Policy::Static { .. }))?,
            curve(panel, |policy| matches!(policy, Policy::None { .. }))?,
        ];
        let places: Vec<[f64; 3]> = dftsp
            .points
            .iter()
            .filter_map(|point| Some([point.y, batches.at(point.x)?, none.at(point.x)?]))
            .collect();
        let count = |is_so: fn(&[f64; 3]) -> bool| places.iter().filter(|place| is_so(place)).count();
        let gains = || places.iter().filter(|place| place[1] > 0.0).map(|place| place[0] / place[1]);
        let sum = |index: usize| places.iter().map(|place| place[index]).sum::<f64>();
        Some(Self {
            figure,
            panel: panel.title.clone(),
            points: places.len(),
            dftsp_at_least_static: count(|[dftsp, batches, _]| dftsp >= batches),
            static_at_least_none: count(|[_, batches, none]| batches >= none),
            dftsp_at_least_none: count(|[dftsp, _, none]| dftsp >= none),
            gain_least: gains().reduce(f64::min),
            gain_most: gains().reduce(f64::max),
            gain_mean: (sum(1) > 0.0).then(|| sum(0) / sum(1)),
        })
    }
}

fn curve(panel: &Panel, is_it: impl Fn(Policy) -> bool) -> Option<&Curve> {
    panel.curves.iter().find(|curve| curve.name.parse().is_ok_and(&is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_sums_over_all_panels() {
        let claim = |points, holds| Claim {
            figure: "a-arrival-rate",
            panel: "OPT-13B".to_owned(),
            points,
            dftsp_at_least_static: holds,
            static_at_least_none: points,
            dftsp_at_least_none: points,
            gain_least: Some(0.98),
            gain_most: Some(2.5),
            gain_mean: None,
        };
        let claims = [claim(5, 4), claim(3, 3)];
        assert!(
            verdict(&claims)
                .starts_with("Of 8 places, dftsp serves no fewer than static batching (StB) at 7,")
        );
        let shown = table(&claims).to_string();
        assert!(
            shown.contains("0.98 ×") && shown.contains("2.50 ×") && shown.lines().count() == 3,
            "{shown}"
        );
    }
}
