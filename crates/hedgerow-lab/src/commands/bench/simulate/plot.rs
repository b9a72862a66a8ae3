//! Draws how time and memory scale with the requests.

use std::sync::Arc;

use kuva::plot::{LegendEntry, LegendShape, LinePlot, LineStyle, ScatterPlot};
use kuva::render::figure::Figure;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::Row;
use crate::plotting::{STYLES, svg};

const PANEL: (f64, f64) = (420.0, 300.0);

/// Draws the measurements with both axes logarithmic, and a line of slope 1 through the largest, as SVG.
pub(super) fn growth(rows: &[Row]) -> String {
    let points = |value: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().filter_map(|row| Some((row.requests as f64, value(row)?))).collect()
    };
    let time = points(|row| Some(row.time_s));
    let memory = points(|row| row.memory_peak_bytes.map(|bytes| bytes as f64 / 1e6));
    let (cells, layouts): (Vec<_>, Vec<_>) =
        [panel("time (s)", time), panel("peak memory (MB)", memory)].into_iter().unzip();
    let (measured, linear) = (&STYLES[0], &STYLES[3]);
    let legend = vec![
        LegendEntry {
            label: "measured".into(),
            color: measured.color.into(),
            shape: LegendShape::Marker(measured.marker),
            dasharray: None,
        },
        LegendEntry {
            label: "in proportion to the requests".into(),
            color: linear.color.into(),
            shape: LegendShape::Line,
            dasharray: LineStyle::Dotted.dasharray(),
        },
    ];
    let figure = Figure::new(1, 2)
        .with_plots(cells)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend)
        .with_shared_legend_bottom();
    svg(&figure.render())
}

fn panel(title: &str, points: Vec<(f64, f64)>) -> (Vec<Plot>, Layout) {
    let mut plots = Vec::new();
    let by_requests = |a: &&(f64, f64), b: &&(f64, f64)| a.0.total_cmp(&b.0);
    let bounds = points.iter().min_by(by_requests).zip(points.iter().max_by(by_requests));
    let (first, last) = bounds.map_or(((1.0, 1.0), (10.0, 1.0)), |(first, last)| (*first, *last));
    let linear = [first.0, last.0].map(|requests| (requests, last.1 * requests / last.0));
    if points.len() > 1 {
        let style = (&STYLES[3], LineStyle::Dotted);
        let line = LinePlot::new().with_data(linear.to_vec()).with_color(style.0.color);
        plots.push(Plot::Line(line.with_stroke_width(1.2).with_line_style(style.1)));
        let line = LinePlot::new().with_data(points.clone()).with_color(STYLES[0].color);
        plots.push(Plot::Line(line.with_stroke_width(1.8)));
    }
    let least = points.iter().map(|point| point.1).fold(linear[0].1, f64::min).max(1e-6);
    let most = points.iter().map(|point| point.1).fold(least, f64::max);
    let markers = ScatterPlot::new().with_data(points).with_color(STYLES[0].color).with_size(4.0);
    plots.push(Plot::Scatter(markers.with_marker(STYLES[0].marker)));
    let layout = Layout::auto_from_plots(&plots)
        .with_log_scale()
        .with_title(title)
        .with_title_size(13)
        .with_x_label("requests")
        .with_x_axis_min(0.8 * first.0)
        .with_x_axis_max(1.25 * last.0)
        .with_y_axis_min(0.7 * least)
        .with_y_axis_max(1.5 * most)
        .with_x_tick_format(TickFormat::Custom(Arc::new(count)))
        .with_y_tick_format(TickFormat::Custom(Arc::new(plain)));
    (plots, layout)
}

/// Formats a tick of the request axis.
fn count(requests: f64) -> String {
    match requests.round() {
        thousands if (1e3..1e6).contains(&thousands) => format!("{} k", thousands / 1e3),
        millions if millions >= 1e6 => format!("{} M", millions / 1e6),
        few => few.to_string(),
    }
}

fn plain(value: f64) -> String {
    // A power of ten may be off by a rounding error.
    format!("{}", (value * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_of_requests_is_short() {
        assert_eq!([100.0, 10_000.0, 9_999_999.999_9].map(count), ["100", "10 k", "10 M"]);
    }
}
