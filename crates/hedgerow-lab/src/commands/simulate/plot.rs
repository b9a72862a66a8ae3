//! Draws the distributions of the requests' latencies.

use std::sync::Arc;

use hedgerow_core::output::Times;
use hedgerow_core::time::Span;
use hedgerow_sim::{Report, cdf};
use kuva::plot::{LegendEntry, LegendShape, LinePlot};
use kuva::render::figure::Figure;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use crate::plotting::{styles_of, svg, time_tick};

const PANEL: (f64, f64) = (360.0, 260.0);

/// What is drawn: a title, and the sorted times of a run.
type Timed = (&'static str, fn(&Times) -> &[Span]);

const METRICS: [Timed; 3] =
    [("TTFT", |times| &times.ttft), ("TPOT", |times| &times.tpot), ("E2E", |times| &times.e2e)];

/// Draws the cumulative distributions of TTFT, TPOT and E2E, a line for each run, as SVG. They are percentages of all
/// offered requests, so a line ends at the fraction that was answered.
pub(super) fn cdfs(reports: &[Report], times: &[Times]) -> String {
    let policies: Vec<&str> = reports.iter().map(|report| report.policy.as_str()).collect();
    let styles = styles_of(&policies);
    let runs = || reports.iter().zip(times).zip(styles.iter().map(|(_, style)| *style));
    let mut cells = Vec::new();
    let mut layouts = Vec::new();
    for (title, pick) in METRICS {
        let mut plots = Vec::new();
        let (mut least_ms, mut most_ms) = (f64::INFINITY, 0.0_f64);
        for ((report, times), style) in runs() {
            let percent = |rank: usize| 100.0 * rank as f64 / report.offered as f64;
            let points: Vec<(f64, f64)> =
                cdf(pick(times)).map(|(time, rank)| (time.as_millis(), percent(rank))).collect();
            for (ms, _) in &points {
                (least_ms, most_ms) = (least_ms.min(*ms), most_ms.max(*ms));
            }
            // A line needs two points.
            if points.len() > 1 {
                let line = LinePlot::new().with_data(points).with_color(style.color);
                plots.push(Plot::Line(line.with_stroke_width(1.8).with_line_style(style.line.clone())));
            }
        }
        let layout = Layout::auto_from_plots(&plots)
            .with_title(title)
            .with_title_size(13)
            .with_x_label("time")
            .with_y_label("% of offered, within that time")
            .with_y_axis_min(0.0)
            .with_y_axis_max(105.0);
        // Perhaps no request was answered.
        let layout = if most_ms > 0.0 {
            let (from_ms, to_ms) = (0.5 * least_ms.max(1e-3), 2.0 * most_ms);
            layout.with_log_x().with_x_axis_min(from_ms).with_x_axis_max(to_ms)
        } else {
            layout
        };
        layouts.push(layout.with_x_tick_format(TickFormat::Custom(Arc::new(time_tick))));
        cells.push(plots);
    }
    let legend = runs().map(|((report, _), style)| LegendEntry {
        label: report.policy.clone(),
        color: style.color.to_owned(),
        shape: LegendShape::Line,
        dasharray: style.line.dasharray(),
    });
    let figure = Figure::new(1, METRICS.len())
        .with_plots(cells)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend.collect())
        .with_shared_legend_bottom();
    svg(&figure.render())
}
