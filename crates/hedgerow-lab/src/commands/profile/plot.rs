//! Plots a profile, with `kuva`.

use hedgerow_node::profile::Profile;
use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::table::{counts, depths};
use crate::plotting::{STYLES, svg, titled};

const PANEL: (f64, f64) = (560.0, 360.0);

/// Draws the time of a decode step over its batch size, a line for each context length, as SVG.
pub(super) fn decode(profile: &Profile) -> String {
    let decode = &profile.cost.decode;
    let counts = counts(decode);
    let mut plots = Vec::new();
    let mut legend = Vec::new();
    for (depth, style) in depths(decode).into_iter().zip(STYLES.iter().cycle()) {
        let time = |&count: &u32| {
            (f64::from(count), decode.at(count, u64::from(count) * u64::from(depth)).as_millis())
        };
        let points: Vec<(f64, f64)> = counts.iter().map(time).collect();
        let lines = LinePlot::new().with_data(points.clone()).with_color(style.color).with_stroke_width(1.6);
        plots.push(Plot::Line(lines.with_line_style(style.line.clone())));
        let markers = ScatterPlot::new().with_data(points).with_color(style.color).with_size(3.5);
        plots.push(Plot::Scatter(markers.with_marker(style.marker)));
        legend.push(LegendEntry {
            label: format!("{depth} tokens each"),
            color: style.color.to_owned(),
            shape: LegendShape::Marker(style.marker),
            dasharray: style.line.dasharray(),
        });
    }
    let subject = &profile.subject;
    let title = format!("Decode step of {} on {}", subject.model.name, subject.machine.cpu);
    let layout = titled(Layout::auto_from_plots(&plots), title, PANEL.0)
        .with_x_label("requests")
        .with_y_label("ms")
        .with_x_axis_min(0.0)
        .with_y_axis_min(0.0);
    let figure = Figure::new(1, 1)
        .with_plots(vec![plots])
        .with_layouts(vec![layout])
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend)
        .with_shared_legend_bottom();
    svg(&figure.render())
}
