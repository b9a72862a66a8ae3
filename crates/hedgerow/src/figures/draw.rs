//! Panels of curves as SVG and PNG.

use std::sync::Arc;

use anyhow::anyhow;
use kuva::PngBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::figure::Figure as Page;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::Part;
use super::curves::{Curve, Panel};
use crate::cli::bench::style::{STYLES, Style};

const COLUMNS_MAX: usize = 3;
const PANEL: (f64, f64) = (340.0, 250.0);
/// Pixels for each unit of the SVG: 300 a printed inch where the SVG has 96.
const PNG_SCALE: f32 = 2.0;

/// A drawn figure.
pub(super) struct Drawn {
    pub(super) svg: String,
    pub(super) png: Vec<u8>,
}

/// Draws panels beside each other, with one legend for all.
///
/// # Errors
///
/// When no PNG can be made of it.
pub(super) fn draw(name: &str, panels: &[(&Part, Panel)]) -> anyhow::Result<Drawn> {
    let mut names: Vec<&str> = Vec::new();
    for curve in panels.iter().flat_map(|(_, panel)| &panel.curves) {
        if !names.contains(&curve.name.as_str()) {
            names.push(&curve.name);
        }
    }
    let rank = |name: &str| names.iter().position(|known| *known == name).unwrap_or_default();
    let style = |name: &str| &STYLES[rank(name) % STYLES.len()];
    let legend = names.iter().map(|name| {
        let style = style(name);
        LegendEntry {
            label: (*name).to_owned(),
            color: style.color.to_owned(),
            shape: LegendShape::Marker(style.marker),
            dasharray: style.line.dasharray(),
        }
    });
    let (plots, layouts): (Vec<_>, Vec<_>) =
        panels.iter().map(|(part, panel)| drawn(part, panel, &|name| (style(name), rank(name)))).unzip();
    let columns = plots.len().clamp(1, if plots.len() == 4 { 2 } else { COLUMNS_MAX });
    let page = Page::new(plots.len().div_ceil(columns), columns)
        .with_plots(plots)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend.collect())
        .with_shared_legend_bottom();
    let scene = page.render();
    let png = PngBackend::new().with_scale(PNG_SCALE).render_scene(&scene);
    Ok(Drawn {
        svg: renumbered(&SvgBackend::new().render_scene(&scene), name),
        png: png.map_err(|error| anyhow!(error))?,
    })
}

/// kuva numbers its clips through the life of the process; here they begin anew in each figure, so that it is
/// the same whatever else was drawn, and carry its name, so that several can stand on one page.
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

fn drawn<'a>(part: &Part, panel: &Panel, style: &impl Fn(&str) -> (&'a Style, usize)) -> (Vec<Plot>, Layout) {
    let mut plots = Vec::new();
    for curve in &panel.curves {
        plots.extend(marks(part, curve, style(&curve.name)));
    }
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let (least, most) = points()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), point| (least.min(point.x), most.max(point.x)));
    let lowest = points().map(|point| point.y).filter(|&y| y > 0.0).fold(f64::INFINITY, f64::min);
    let highest = points().map(|point| point.y + point.half.unwrap_or(0.0)).fold(0.0, f64::max);
    let layout = Layout::auto_from_plots(&plots)
        .with_title(panel.title.clone())
        .with_title_size(13)
        .with_x_label(part.x.label)
        .with_x_tick_format(TickFormat::Custom(Arc::new(number)))
        .with_y_tick_format(TickFormat::Custom(Arc::new(number)));
    let layout = if part.panel.is_some() { layout.with_y_label(part.label) } else { layout };
    let layout = if part.x.is_log {
        layout.with_log_x().with_x_axis_min(0.8 * least).with_x_axis_max(1.25 * most)
    } else {
        layout.with_x_axis_min(0.0).with_x_axis_max((1.05 * most).max(f64::MIN_POSITIVE))
    };
    let layout = if part.is_log_y && lowest.is_finite() {
        layout.with_log_y().with_y_axis_min(0.5 * lowest).with_y_axis_max(2.0 * highest)
    } else {
        layout.with_y_axis_min(0.0).with_y_axis_max((1.08 * highest).max(1e-3))
    };
    (plots, layout)
}

/// A line through a curve's points, and markers with the confidence interval as a bar.
fn marks(part: &Part, curve: &Curve, (style, rank): (&Style, usize)) -> Vec<Plot> {
    // Later ones are thinner, so that those beneath can be seen where they are the same.
    let width = (2.6 - 0.3 * rank as f64).max(1.1);
    // Nothing stands at zero on a logarithmic axis.
    let points = curve.points.iter().filter(|point| !part.is_log_y || point.y > 0.0);
    let points: Vec<_> = points.copied().collect();
    let data: Vec<(f64, f64)> = points.iter().map(|point| (point.x, point.y)).collect();
    let mut plots = Vec::new();
    if data.len() > 1 {
        let line = LinePlot::new().with_data(data.clone()).with_color(style.color).with_stroke_width(width);
        plots.push(Plot::Line(line.with_line_style(style.line.clone())));
    }
    if !data.is_empty() {
        let markers = ScatterPlot::new().with_data(data).with_color(style.color).with_size(1.8 * width + 1.6);
        let bars = points.iter().map(|point| point.half.unwrap_or(0.0));
        let markers = if part.is_log_y { markers } else { markers.with_y_err(bars) };
        plots.push(Plot::Scatter(markers.with_marker(style.marker)));
    }
    plots
}

/// A tick: as many digits as it needs, and powers of ten beyond a million.
fn number(value: f64) -> String {
    if value.abs() >= 1e6 {
        let exponent = value.abs().log10().floor();
        let mantissa = value / 10_f64.powf(exponent);
        return format!("{}e{exponent}", (mantissa * 10.0).round() / 10.0);
    }
    // A power of ten may come out a hair beside it.
    format!("{}", (value * 1e4).round() / 1e4)
}
