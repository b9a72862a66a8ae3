//! Plots quality over size, with `kuva`.

use hedgerow_node::quality::{Estimate, Quality};
use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use crate::plotting::{STYLES, svg};

const PANEL: (f64, f64) = (360.0, 280.0);

/// A title, and the figure that it names.
type Figured = (&'static str, fn(&Quality) -> Estimate);

/// Draws both definitions of quality and the divergence over the file size, each with its 95 % interval as a line, as
/// SVG.
pub(super) fn quality(results: &[Quality]) -> String {
    let figured: [Figured; 3] = [
        ("PPL ref / PPL", |quality| quality.measured.ppl_ratio),
        ("same top token (%)", |quality| percent(quality.measured.same_top)),
        ("KL divergence (nats)", |quality| quality.measured.kl_mean),
    ];
    let (plots, layouts): (Vec<_>, Vec<_>) = figured.iter().map(|figured| panel(results, figured)).unzip();
    let legend = results.iter().zip(STYLES.iter().cycle()).map(|(quality, style)| LegendEntry {
        label: quality.subject.model.precision.clone(),
        color: style.color.to_owned(),
        shape: LegendShape::Marker(style.marker),
        dasharray: None,
    });
    let figure = Figure::new(1, figured.len())
        .with_plots(plots)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend.collect())
        .with_shared_legend_bottom();
    svg(&figure.render())
}

fn panel(results: &[Quality], (title, figure): &Figured) -> (Vec<Plot>, Layout) {
    let mut plots = Vec::new();
    for (quality, style) in results.iter().zip(STYLES.iter().cycle()) {
        let megabytes = quality.subject.model.file_bytes as f64 / 1e6;
        let Estimate { value, low, high } = figure(quality);
        let interval = LinePlot::new().with_data(vec![(megabytes, low), (megabytes, high)]);
        plots.push(Plot::Line(interval.with_color(style.color).with_stroke_width(1.4)));
        let marker = ScatterPlot::new().with_data(vec![(megabytes, value)]).with_color(style.color);
        plots.push(Plot::Scatter(marker.with_size(4.5).with_marker(style.marker)));
    }
    let layout = Layout::auto_from_plots(&plots).with_title(*title).with_title_size(13).with_x_label("MB");
    (plots, layout.with_x_axis_min(0.0))
}

fn percent(part: Estimate) -> Estimate {
    Estimate { value: 100.0 * part.value, low: 100.0 * part.low, high: 100.0 * part.high }
}
