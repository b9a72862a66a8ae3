//! A profile as a picture, by `kuva`.

use kuva::backend::svg::SvgBackend;
use kuva::plot::{LegendEntry, LegendShape, LinePlot, LineStyle, MarkerShape, ScatterPlot};
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::table::{counts, depths};
use crate::profile::Profile;

/// Colours that the colour-blind can tell apart (Okabe and Ito), each with its own marker and dashes.
const STYLES: [(&str, LineStyle, MarkerShape); 3] = [
    ("#0072B2", LineStyle::Solid, MarkerShape::Circle),
    ("#D55E00", LineStyle::Dashed, MarkerShape::Square),
    ("#009E73", LineStyle::Dotted, MarkerShape::Triangle),
];

const PANEL: (f64, f64) = (560.0, 360.0);

/// An SVG of the time of a decode step over its requests, a line for each length of their caches.
pub(super) fn decode(profile: &Profile) -> String {
    let decode = &profile.cost.decode;
    let counts = counts(decode);
    let mut plots = Vec::new();
    let mut legend = Vec::new();
    for (depth, (color, line, marker)) in depths(decode).into_iter().zip(STYLES.into_iter().cycle()) {
        let time = |&count: &u32| {
            (f64::from(count), decode.at(count, u64::from(count) * u64::from(depth)).as_millis())
        };
        let points: Vec<(f64, f64)> = counts.iter().map(time).collect();
        let lines = LinePlot::new().with_data(points.clone()).with_color(color).with_stroke_width(1.6);
        plots.push(Plot::Line(lines.with_line_style(line.clone())));
        let markers = ScatterPlot::new().with_data(points).with_color(color).with_size(3.5);
        plots.push(Plot::Scatter(markers.with_marker(marker)));
        legend.push(LegendEntry {
            label: format!("{depth} tokens each"),
            color: color.to_owned(),
            shape: LegendShape::Marker(marker),
            dasharray: line.dasharray(),
        });
    }
    let subject = &profile.subject;
    let title = format!("Decode step of {} on {}", subject.model.name, subject.machine.cpu);
    let layout = Layout::auto_from_plots(&plots)
        .with_x_label("requests")
        .with_y_label("ms")
        .with_x_axis_min(0.0)
        .with_y_axis_min(0.0);
    let figure = Figure::new(1, 1)
        .with_title(title)
        .with_plots(vec![plots])
        .with_layouts(vec![layout])
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend)
        .with_shared_legend_bottom();
    SvgBackend::new().render_scene(&figure.render())
}
