//! Draws attainment over the rate.

use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::annotations::ReferenceLine;
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::report::Report;
use crate::plan::Point;
use crate::plotting::{STYLES, svg, titled};

const PANEL: (f64, f64) = (600.0, 380.0);

/// Draws a line for each set, with a mark at its greatest rate, and the target, as SVG; only the best sets if there
/// are more sets than styles.
pub(super) fn plot(report: &Report) -> String {
    let mut answers: Vec<_> = report.answers.iter().collect();
    answers.sort_by(|one, other| other.rate_per_s().total_cmp(&one.rate_per_s()));
    let (mut plots, mut legend, mut furthest) = (Vec::new(), Vec::new(), 0.0_f64);
    for (answer, style) in answers.into_iter().zip(&STYLES) {
        let percent = |point: &Point| (point.rate_per_s, 100.0 * point.mean());
        let points: Vec<(f64, f64)> = answer.curve.points().iter().map(percent).collect();
        furthest = points.iter().map(|point| point.0).fold(furthest, f64::max);
        let line = LinePlot::new().with_data(points).with_color(style.color).with_stroke_width(1.8);
        plots.push(Plot::Line(line.with_line_style(style.line.clone())));
        let best: Vec<(f64, f64)> = answer.best.iter().map(percent).collect();
        let marks = ScatterPlot::new().with_data(best).with_color(style.color).with_size(6.0);
        plots.push(Plot::Scatter(marks.with_marker(style.marker)));
        legend.push(LegendEntry {
            label: format!("{}: {:.2}/s", report.name(answer), answer.rate_per_s()),
            color: style.color.to_owned(),
            shape: LegendShape::Marker(style.marker),
            dasharray: style.line.dasharray(),
        });
    }
    // Rounded to remove floating-point noise: 99.9 %, not 99.90000000000001 %.
    let target = (1e6 * report.goal.attainment).round() / 1e4;
    let line = ReferenceLine::horizontal(target).with_color("#777777");
    let layout = titled(Layout::auto_from_plots(&plots), report.title(), PANEL.0)
        .with_reference_line(line.with_label(format!("asked for: {target} %")))
        .with_x_label("requests/s offered")
        .with_y_label("attainment (% of offered)")
        .with_x_axis_min(0.0)
        .with_x_axis_max((1.02 * furthest).max(f64::MIN_POSITIVE))
        .with_y_axis_min(0.0)
        .with_y_axis_max(102.0);
    let figure = Figure::new(1, 1)
        .with_plots(vec![plots])
        .with_layouts(vec![layout])
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend)
        .with_shared_legend_bottom();
    svg(&figure.render())
}
