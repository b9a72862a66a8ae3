//! Draws panels of curves as SVG and PNG.

use std::sync::Arc;

use anyhow::anyhow;
use kuva::PngBackend;
use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::figure::Figure as Page;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::Part;
use super::curves::{Curve, Panel};
use crate::plotting::{Style, styles_of, svg};

const COLUMNS_MAX: usize = 3;
const PANEL: (f64, f64) = (340.0, 250.0);
/// Pixels per unit of the SVG.
const PNG_SCALE: f32 = 2.0;

/// A drawn figure.
pub(super) struct Drawn {
    pub(super) svg: String,
    pub(super) png: Vec<u8>,
}

/// Draws panels side by side, with one legend for all.
///
/// # Errors
///
/// When it cannot be rendered as PNG.
pub(super) fn draw(name: &str, panels: &[(&Part, Panel)]) -> anyhow::Result<Drawn> {
    let mut names: Vec<&str> = Vec::new();
    for curve in panels.iter().flat_map(|(_, panel)| &panel.curves) {
        if !names.contains(&curve.name.as_str()) {
            names.push(&curve.name);
        }
    }
    let styles = styles_of(&names);
    let lines = Lines { names: &names, styles: &styles };
    let legend = names.iter().zip(&styles).map(|(name, (_, style))| LegendEntry {
        label: (*name).to_owned(),
        color: style.color.to_owned(),
        shape: LegendShape::Marker(style.marker),
        dasharray: style.line.dasharray(),
    });
    let (plots, layouts): (Vec<_>, Vec<_>) =
        panels.iter().map(|(part, panel)| drawn(part, panel, &lines)).unzip();
    let columns = plots.len().clamp(1, if plots.len() == 4 { 2 } else { COLUMNS_MAX });
    let page = Page::new(plots.len().div_ceil(columns), columns)
        .with_plots(plots)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend.collect())
        .with_shared_legend_bottom();
    let scene = page.render();
    let png = PngBackend::new().with_scale(PNG_SCALE).render_scene(&scene);
    Ok(Drawn { svg: renumbered(&svg(&scene), name), png: png.map_err(|error| anyhow!(error))? })
}

/// Renumbers kuva's clip paths, which are numbered through the life of the process: they start anew in each figure,
/// so that its bytes do not depend on other figures, and contain its name, so that figures can share a page.
fn renumbered(svg: &str, name: &str) -> String {
    const ID: &str = "kuva-clip-";
    let mut parts = svg.split(ID);
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut ids: Vec<&str> = Vec::new();
    for part in parts {
        let (id, rest) = part.split_at(part.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(part.len()));
        let index = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        });
        text.push_str(&format!("{name}-clip-{index}{rest}"));
    }
    text
}

/// The lines of a figure: their names and styles.
struct Lines<'a> {
    names: &'a [&'a str],
    styles: &'a [(usize, &'static Style)],
}

impl Lines<'_> {
    /// Returns a curve's position in the drawing order, and its style.
    fn style(&self, curve: &Curve) -> (usize, &'static Style) {
        let index = self.names.iter().position(|name| *name == curve.name).unwrap_or_default();
        self.styles[index]
    }
}

fn drawn(part: &Part, panel: &Panel, lines: &Lines<'_>) -> (Vec<Plot>, Layout) {
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let (least, most) = points()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), point| (least.min(point.x), most.max(point.x)));
    let across = Across::of(part, least, most);
    let mut curves: Vec<&Curve> = panel.curves.iter().collect();
    curves.sort_by_key(|curve| lines.style(curve).0);
    let mut plots = Vec::new();
    for (rank, curve) in curves.iter().enumerate() {
        let aside = rank as f64 - (curves.len() - 1) as f64 / 2.0;
        plots.extend(marks(part, curve, (lines.style(curve).1, rank), |x| across.aside(x, aside)));
    }
    let lowest = points().map(|point| point.y).filter(|&y| y > 0.0).fold(f64::INFINITY, f64::min);
    let highest = points().map(|point| point.y + point.half.unwrap_or(0.0)).fold(0.0, f64::max);
    let layout = Layout::auto_from_plots(&plots)
        .with_title(panel.title.clone())
        .with_title_size(13)
        .with_x_label(part.x.label)
        .with_x_tick_format(TickFormat::Custom(Arc::new(number)))
        .with_y_tick_format(TickFormat::Custom(Arc::new(number)));
    let layout = if part.panel.is_some() { layout.with_y_label(part.label) } else { layout };
    let layout = if across.is_log { layout.with_log_x() } else { layout };
    let layout = layout.with_x_axis_min(across.from).with_x_axis_max(across.to);
    let layout = if part.is_log_y && lowest.is_finite() {
        layout.with_log_y().with_y_axis_min(0.5 * lowest).with_y_axis_max(2.0 * highest)
    } else {
        layout.with_y_axis_min(0.0).with_y_axis_max((1.08 * highest).max(1e-3))
    };
    (plots, layout)
}

/// The horizontal axis.
struct Across {
    from: f64,
    to: f64,
    is_log: bool,
}

impl Across {
    fn of(part: &Part, least: f64, most: f64) -> Self {
        if !(least.is_finite() && most > 0.0) {
            return Self { from: 0.0, to: 1.0, is_log: false };
        }
        if part.x.is_log && most >= 10.0 * least && least > 0.0 {
            return Self { from: 0.8 * least, to: 1.25 * most, is_log: true };
        }
        // Within a power of ten a logarithmic axis would have at most a few ticks, so a linear one is used.
        let from = if part.x.is_log { (least - 0.08 * (most - least)).max(0.0) } else { 0.0 };
        Self { from, to: most + 0.08 * (most - from), is_log: false }
    }

    /// Shifts a coordinate by a number of marker widths, so that the markers of coinciding lines are side by side.
    fn aside(&self, x: f64, marks: f64) -> f64 {
        /// A marker's width as a fraction of the axis.
        const MARK: f64 = 0.014;
        if self.is_log {
            x * (self.to / self.from).powf(MARK * marks)
        } else {
            x + MARK * marks * (self.to - self.from)
        }
    }
}

/// Draws a line through a curve's points, and markers with error bars for the confidence interval.
fn marks(
    part: &Part,
    curve: &Curve,
    (style, rank): (&Style, usize),
    aside: impl Fn(f64) -> f64,
) -> Vec<Plot> {
    // Later lines are thinner, so that those beneath show where they coincide.
    let width = (2.8 - 0.3 * rank as f64).max(1.0);
    // A logarithmic axis cannot show zero.
    let points = curve.points.iter().filter(|point| !part.is_log_y || point.y > 0.0);
    let points: Vec<_> = points.copied().collect();
    let line: Vec<(f64, f64)> = points.iter().map(|point| (point.x, point.y)).collect();
    let data: Vec<(f64, f64)> = points.iter().map(|point| (aside(point.x), point.y)).collect();
    let mut plots = Vec::new();
    if line.len() > 1 {
        let line = LinePlot::new().with_data(line).with_color(style.color).with_stroke_width(width);
        plots.push(Plot::Line(line.with_line_style(style.line.clone())));
    }
    if !data.is_empty() {
        let markers = ScatterPlot::new().with_data(data).with_color(style.color).with_size(4.0);
        let bars = points.iter().map(|point| point.half.unwrap_or(0.0));
        let markers = if part.is_log_y { markers } else { markers.with_y_err(bars) };
        plots.push(Plot::Scatter(markers.with_marker(style.marker)));
    }
    plots
}

/// Formats a tick with as many digits as needed, and in scientific notation from 100,000, which would run past the
/// panel's edge.
fn number(value: f64) -> String {
    // A power of ten may be slightly too small by rounding.
    if value.abs() >= 99_999.0 {
        let exponent = (value.abs().log10() + 1e-9).floor();
        let mantissa = value / 10_f64.powf(exponent);
        return format!("{}e{exponent}", (mantissa * 10.0).round() / 10.0);
    }
    // A power of ten may be off by a rounding error.
    format!("{}", (value * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::super::paper::PAPER;
    use super::*;

    #[test]
    fn a_tick_is_short() {
        assert_eq!(
            [0.05, 1.0, 20_000.0, 1e5, 99_999.999_99, 2.5e6].map(number),
            ["0.05", "1", "20000", "1e5", "1e5", "2.5e6"]
        );
    }

    #[test]
    fn an_axis_within_a_power_of_ten_is_linear_and_has_room_at_both_ends() {
        let part = &PAPER[0].parts[0];
        assert!(part.x.is_log);
        let wide = Across::of(part, 2.0, 50.0);
        assert!(wide.is_log && wide.from < 2.0 && wide.to > 50.0);
        let narrow = Across::of(part, 0.67, 1.5);
        assert!(!narrow.is_log && narrow.from > 0.5 && narrow.from < 0.67 && narrow.to > 1.5);
        assert!(!Across::of(part, f64::INFINITY, 0.0).is_log, "a panel without points");
    }

    #[test]
    fn coinciding_markers_are_drawn_side_by_side() {
        let straight = Across { from: 0.0, to: 10.0, is_log: false };
        let log = Across { from: 1.0, to: 100.0, is_log: true };
        for across in [straight, log] {
            assert_eq!(across.aside(5.0, 0.0), 5.0);
            assert!(across.aside(5.0, -1.0) < 5.0 && across.aside(5.0, 1.0) > 5.0);
        }
    }
}
