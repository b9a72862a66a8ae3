//! Draws the measurements.

use std::sync::Arc;

use hedgerow_loadgen::{Patience, Series};
use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::figure::Figure;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::cells::{Pressure, Server};
use super::lines::Group;
use crate::plotting::{STYLES, Style, svg, time_tick};

const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (360.0, 260.0);
/// The most points in a distribution's line; more would not be visible.
const POINTS_MAX: usize = 200;

/// A server and its kind of client: a line in every panel.
struct Subject<'a> {
    name: String,
    style: &'static Style,
    /// All classes combined, by intensity.
    groups: Vec<&'a Group>,
}

/// A figure drawn over the intensity: a title, and its value for a group.
type Figured = (&'static str, fn(&Group) -> Option<f64>);

/// A figure drawn as a distribution: a title, and the times of a group.
type Timed = (&'static str, fn(&Group) -> &Series);

/// Draws the outcomes over the rate above, and below, in a row for each rate, the cumulative distributions of TTFT,
/// TPOT and E2E, as SVG. They are percentages of all offered requests, so a line ends at the fraction answered.
pub(super) fn plot(servers: &[Server], groups: &[Group]) -> String {
    let subjects = subjects(servers, groups);
    let is_open = matches!(groups.first().map(|group| group.pressure), Some(Pressure::Rate(_)));
    let (label, figured): (&str, [Figured; COLUMNS]) = if is_open {
        let goodput: Figured = ("goodput (requests/s in time)", |group| Some(group.goodput()));
        ("requests/s offered", [ATTAINMENT, OF_ADMITTED, goodput])
    } else {
        let prompt: Figured = ("question tokens/s", |group| Some(group.throughput().0));
        ("callers", [ATTAINMENT, prompt, ("answer tokens/s", |group| Some(group.throughput().1))])
    };
    let mut panels: Vec<(Vec<Plot>, Layout)> =
        figured.into_iter().map(|figured| over_pressure(&subjects, figured, label)).collect();
    for pressure in pressures(groups) {
        let times: [Timed; COLUMNS] = [
            ("TTFT", |group| &group.tally.ttft),
            ("TPOT", |group| &group.tally.tpot),
            ("E2E", |group| &group.tally.e2e),
        ];
        panels.extend(times.map(|(name, series)| {
            distribution(&subjects, pressure, &format!("{name} at {pressure}"), series)
        }));
    }
    let legend = subjects.iter().map(|subject| LegendEntry {
        label: subject.name.clone(),
        color: subject.style.color.to_owned(),
        shape: LegendShape::Marker(subject.style.marker),
        dasharray: subject.style.line.dasharray(),
    });
    let (plots, layouts): (Vec<_>, Vec<_>) = panels.into_iter().unzip();
    let figure = Figure::new(plots.len() / COLUMNS, COLUMNS)
        .with_plots(plots)
        .with_layouts(layouts)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend.collect())
        .with_shared_legend_bottom();
    svg(&figure.render())
}

const ATTAINMENT: Figured = ("attainment (% of offered)", |group| group.tally.attainment().map(percent));
const OF_ADMITTED: Figured =
    ("attainment (% of admitted)", |group| group.tally.admitted_attainment().map(percent));

fn percent(part: f64) -> f64 {
    100.0 * part
}

fn subjects<'a>(servers: &[Server], groups: &'a [Group]) -> Vec<Subject<'a>> {
    let alls = || groups.iter().filter(|group| group.is_all());
    let mut patiences: Vec<Patience> = Vec::new();
    for group in alls() {
        if !patiences.contains(&group.patience) {
            patiences.push(group.patience);
        }
    }
    let mut subjects = Vec::new();
    let mut styles = STYLES.iter().cycle();
    for (index, server) in servers.iter().enumerate() {
        for &patience in &patiences {
            let Some(style) = styles.next() else { return subjects };
            let name = match patiences.as_slice() {
                [_] => server.name.clone(),
                _ => format!("{}, clients {}", server.name, patience.name()),
            };
            let own = alls().filter(|group| group.server == index && group.patience == patience);
            subjects.push(Subject { name, style, groups: own.collect() });
        }
    }
    subjects
}

fn pressures(groups: &[Group]) -> Vec<Pressure> {
    let mut pressures: Vec<Pressure> = Vec::new();
    for group in groups {
        if !pressures.contains(&group.pressure) {
            pressures.push(group.pressure);
        }
    }
    pressures
}

fn over_pressure(subjects: &[Subject<'_>], (title, value): Figured, label: &str) -> (Vec<Plot>, Layout) {
    let mut plots = Vec::new();
    let (mut highest, mut furthest) = (0.0_f64, 0.0_f64);
    for subject in subjects {
        let point = |group: &&Group| Some((group.pressure.number(), value(group)?));
        let mut points: Vec<(f64, f64)> = subject.groups.iter().filter_map(point).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (x, y) in &points {
            (furthest, highest) = (furthest.max(*x), highest.max(*y));
        }
        plots.extend(line(&points, subject.style));
        let markers = ScatterPlot::new().with_data(points).with_color(subject.style.color).with_size(4.0);
        plots.push(Plot::Scatter(markers.with_marker(subject.style.marker)));
    }
    // Attainment is on the same scale in every plot.
    let top = if title.starts_with("attainment") { 100.0 } else { highest };
    let layout = panel(&plots, title, label)
        .with_x_axis_min(0.0)
        .with_x_axis_max((1.08 * furthest).max(f64::MIN_POSITIVE))
        .with_y_axis_min(0.0)
        .with_y_axis_max((1.05 * top).max(f64::MIN_POSITIVE));
    (plots, layout)
}

/// Draws a cumulative distribution, in percent of all offered requests.
fn distribution(
    subjects: &[Subject<'_>],
    pressure: Pressure,
    title: &str,
    series: fn(&Group) -> &Series,
) -> (Vec<Plot>, Layout) {
    let mut plots = Vec::new();
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    for subject in subjects {
        let Some(group) = subject.groups.iter().find(|group| group.pressure == pressure) else { continue };
        let points = cumulative(series(group).ms(), group.tally.offered);
        for (ms, _) in &points {
            (least, most) = (least.min(*ms), most.max(*ms));
        }
        plots.extend(line(&points, subject.style));
    }
    let layout = panel(&plots, title, "time").with_y_label("% of offered, within that time");
    let layout = layout.with_y_axis_min(0.0).with_y_axis_max(105.0);
    // Perhaps no request was answered.
    let layout = if most > 0.0 {
        let from_to = (0.5 * least.max(1e-3), 2.0 * most);
        layout.with_log_x().with_x_axis_min(from_to.0).with_x_axis_max(from_to.1)
    } else {
        layout
    };
    (plots, layout.with_x_tick_format(TickFormat::Custom(Arc::new(time_tick))))
}

/// Returns a line, if there are at least two points.
fn line(points: &[(f64, f64)], style: &Style) -> Option<Plot> {
    let line = || LinePlot::new().with_data(points.to_vec()).with_color(style.color).with_stroke_width(1.8);
    (points.len() > 1).then(|| Plot::Line(line().with_line_style(style.line.clone())))
}

fn panel(plots: &[Plot], title: &str, label: &str) -> Layout {
    Layout::auto_from_plots(plots).with_title(title).with_title_size(13).with_x_label(label)
}

/// Returns points of the cumulative distribution of sorted times, in percent of all offered requests.
fn cumulative(sorted_ms: &[f64], offered: usize) -> Vec<(f64, f64)> {
    let count = sorted_ms.len();
    let points = count.min(POINTS_MAX);
    let rank = |point: usize| (point * count).div_ceil(points);
    let at = |rank: usize| (sorted_ms[rank - 1], percent(rank as f64 / offered as f64));
    (1..=points).map(|point| at(rank(point))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_ends_at_the_fraction_that_was_answered() {
        assert_eq!(cumulative(&[1.0, 2.0, 4.0], 4), [(1.0, 25.0), (2.0, 50.0), (4.0, 75.0)]);
        assert_eq!(cumulative(&[], 4), []);
        let many: Vec<f64> = (1..=1001).map(f64::from).collect();
        let points = cumulative(&many, 1001);
        assert_eq!((points.len(), points[POINTS_MAX - 1]), (POINTS_MAX, (1001.0, 100.0)));
    }
}
