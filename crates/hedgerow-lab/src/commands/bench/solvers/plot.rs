//! Draws the solvers' times.

use std::collections::BTreeSet;
use std::sync::Arc;

use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::annotations::ReferenceLine;
use kuva::render::figure::Figure;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::summary::Report;
use crate::plotting::{styles_of, svg};

const COLUMNS: usize = 4;
const PANEL: (f64, f64) = (300.0, 230.0);

/// Draws the median time over the number of requests, both logarithmic, as SVG: a panel for each generator, a line
/// for each solver, and the time limit as a thin line.
pub(super) fn times(report: &Report) -> String {
    let mut solvers: Vec<&String> = Vec::new();
    let mut families: Vec<&'static str> = Vec::new();
    for row in &report.rows {
        if !solvers.contains(&&row.solver) {
            solvers.push(&row.solver);
        }
        if !families.contains(&row.family) {
            families.push(row.family);
        }
    }
    let sizes: BTreeSet<usize> = report.rows.iter().map(|row| row.requests).collect();
    let shortest_us = report.rows.iter().map(|row| row.median_us).fold(1.0, f64::min);
    let limit_us = report.time_limit_s * 1e6;
    let longest_us = report.rows.iter().map(|row| row.median_us).fold(limit_us, f64::max);
    let names: Vec<&str> = solvers.iter().map(|solver| solver.as_str()).collect();
    let styles = styles_of(&names);
    let styled = || solvers.iter().zip(styles.iter().map(|(_, style)| *style));
    let panel = |family: &&'static str| {
        let mut plots = Vec::new();
        for (solver, style) in styled() {
            let own = report.rows.iter().filter(|row| row.family == *family && row.solver == **solver);
            let points: Vec<(f64, f64)> = own.map(|row| (row.requests as f64, row.median_us)).collect();
            if points.is_empty() {
                continue;
            }
            let lines = LinePlot::new().with_data(points.clone()).with_color(style.color);
            let lines = lines.with_stroke_width(1.6).with_line_style(style.line.clone());
            plots.push(Plot::Line(lines));
            let markers = ScatterPlot::new().with_data(points).with_color(style.color).with_size(3.5);
            plots.push(Plot::Scatter(markers.with_marker(style.marker)));
        }
        plots
    };
    let cells: Vec<Vec<Plot>> = families.iter().map(panel).collect();
    let layouts = families.iter().zip(&cells).map(|(family, plots)| {
        Layout::auto_from_plots(plots)
            .with_log_scale()
            .with_title(*family)
            .with_title_size(13)
            .with_x_label("requests")
            .with_x_axis_min(0.8 * *sizes.first().unwrap_or(&1) as f64)
            .with_x_axis_max(1.25 * *sizes.last().unwrap_or(&1) as f64)
            .with_y_axis_min(0.7 * shortest_us)
            .with_y_axis_max(3.0 * longest_us)
            .with_x_tick_format(TickFormat::Integer)
            .with_y_tick_format(TickFormat::Custom(Arc::new(span)))
            .with_reference_line(
                ReferenceLine::horizontal(limit_us)
                    .with_color("#777777")
                    .with_label(format!("limit of a search: {}", span(limit_us))),
            )
    });
    let layouts: Vec<Layout> = layouts.collect();
    let legend = styled().map(|(solver, style)| LegendEntry {
        label: (*solver).clone(),
        color: style.color.to_owned(),
        shape: LegendShape::Marker(style.marker),
        dasharray: style.line.dasharray(),
    });
    let columns = families.len().clamp(1, COLUMNS);
    let figure = Figure::new(families.len().div_ceil(columns).max(1), columns)
        .with_title("Median time to solve an instance")
        .with_plots(cells)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend.collect())
        .with_shared_legend_bottom();
    svg(&figure.render())
}

/// Formats a tick of the time axis.
fn span(time_us: f64) -> String {
    // A power of ten may be off by a rounding error.
    let shown = |number: f64, unit: &str| format!("{} {unit}", (number * 1e3).round() / 1e3);
    match time_us * 1.000_001 {
        below if below < 1.0 => shown(time_us * 1e3, "ns"),
        below if below < 1e3 => shown(time_us, "µs"),
        below if below < 1e6 => shown(time_us / 1e3, "ms"),
        _ => shown(time_us / 1e6, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_has_a_suitable_unit() {
        let ticks = [0.1, 1.0, 99.999_999_9, 1e3, 1e5, 999_999.999_9].map(span);
        assert_eq!(ticks, ["100 ns", "1 µs", "100 µs", "1 ms", "100 ms", "1 s"]);
    }
}
