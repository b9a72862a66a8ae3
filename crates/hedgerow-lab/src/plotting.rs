//! The style of lines and ticks in every plot.

use hedgerow_solver::Policy;
use kuva::backend::svg::SvgBackend;
use kuva::plot::{LineStyle, MarkerShape};
use kuva::render::layout::Layout;
use kuva::render::render::Scene;

/// The style of a line.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) color: &'static str,
    pub(crate) line: LineStyle,
    pub(crate) marker: MarkerShape,
}

/// A colour-blind safe palette (Okabe and Ito), each colour with its own marker and dashes, so that lines are also
/// distinct in grey. Only the first is solid: lines are drawn in this order, each thinner than the one before, so
/// that a line beneath others shows in their gaps.
pub(crate) static STYLES: [Style; 10] = [
    Style { color: "#0072B2", line: LineStyle::Solid, marker: MarkerShape::Circle },
    Style { color: "#D55E00", line: LineStyle::Dashed, marker: MarkerShape::Square },
    Style { color: "#009E73", line: LineStyle::Dotted, marker: MarkerShape::Triangle },
    Style { color: "#000000", line: LineStyle::DashDot, marker: MarkerShape::Cross },
    Style { color: "#CC79A7", line: LineStyle::Dashed, marker: MarkerShape::Diamond },
    Style { color: "#E69F00", line: LineStyle::Dotted, marker: MarkerShape::TriangleDown },
    Style { color: "#56B4E9", line: LineStyle::DashDot, marker: MarkerShape::Plus },
    Style { color: "#882255", line: LineStyle::Dashed, marker: MarkerShape::Star },
    Style { color: "#777777", line: LineStyle::Dotted, marker: MarkerShape::Pentagon },
    Style { color: "#44AA99", line: LineStyle::DashDot, marker: MarkerShape::Hexagon },
];

/// Returns the style of a policy or a solver, the same in every plot, as an index into [`STYLES`].
fn place_of(name: &str) -> Option<usize> {
    match name {
        "milp" => Some(8),
        "cp-sat" => Some(9),
        // All policies of the scheduler, whatever their batch sizes.
        name => Some(match name.parse().ok()? {
            Policy::Exact => 0,
            Policy::Dftsp => 1,
            Policy::Greedy => 2,
            Policy::None { .. } => 3,
            Policy::Edf => 4,
            Policy::Static { .. } => 5,
            Policy::Fifo => 6,
            Policy::BruteForce => 7,
        }),
    }
}

/// Returns the styles of one plot's lines, by their names: a policy has its own style in every plot, all others get a
/// free one. Each comes with its index in the order in which lines are drawn.
pub(crate) fn styles_of(names: &[&str]) -> Vec<(usize, &'static Style)> {
    let mut taken = [false; STYLES.len()];
    let mut take = |place: usize| !std::mem::replace(&mut taken[place], true);
    // Two sizes of one policy in one plot cannot both have its style: the first gets it.
    let mut places: Vec<Option<usize>> =
        names.iter().map(|name| place_of(name).filter(|&place| take(place))).collect();
    for (index, place) in places.iter_mut().enumerate() {
        if place.is_none() {
            *place = Some((0..STYLES.len()).find(|&free| take(free)).unwrap_or(index % STYLES.len()));
        }
    }
    places.into_iter().flatten().map(|place| (place, &STYLES[place])).collect()
}

/// Renders a scene as SVG with a `viewBox`, so that a viewer can scale it.
pub(crate) fn svg(scene: &Scene) -> String {
    let sized = SvgBackend::new().render_scene(scene);
    sized.replacen("<svg ", &format!("<svg viewBox=\"0 0 {} {}\" ", scene.width, scene.height), 1)
}

/// Adds a title, wrapped to a width in pixels.
pub(crate) fn titled(layout: Layout, title: impl Into<String>, width: f64) -> Layout {
    const SIZE: u32 = 14;
    // A letter is about 0.6 times as wide as it is high.
    let letters = (width / (0.6 * f64::from(SIZE))) as usize;
    layout.with_title(title).with_title_size(SIZE).with_title_wrap(letters)
}

/// Formats a tick of a time axis from milliseconds.
pub(crate) fn time_tick(ms: f64) -> String {
    if ms < 999.9 { format!("{} ms", (ms * 1e3).round() / 1e3) } else { format!("{} s", ms.round() / 1e3) }
}

#[cfg(test)]
mod tests {
    use kuva::render::figure::Figure;

    use super::*;

    fn colors(names: &[&str]) -> Vec<&'static str> {
        styles_of(names).into_iter().map(|(_, style)| style.color).collect()
    }

    #[test]
    fn a_policy_has_one_style_in_every_plot_and_lines_of_one_plot_have_different_styles() {
        let all =
            ["dftsp", "exact", "static:32", "none", "greedy", "edf", "fifo", "brute-force", "milp", "cp-sat"];
        let policies = colors(&all);
        for (name, color) in all.iter().zip(&policies) {
            assert_eq!(colors(&[name]), [*color], "{name}");
        }
        assert_eq!(colors(&["static:8"]), colors(&["static:32"]));
        let mixed = colors(&["W8A16", "static:8", "static:32", "none", "all limits"]);
        for lines in [policies, mixed] {
            let different: std::collections::BTreeSet<_> = lines.iter().collect();
            assert_eq!(different.len(), lines.len(), "{lines:?}");
        }
    }

    #[test]
    fn a_plot_can_be_scaled() {
        let plot = svg(&Figure::new(1, 1).with_cell_size(300.0, 200.0).render());
        assert!(plot.starts_with("<svg viewBox=\"0 0 3"), "{plot}");
    }

    #[test]
    fn a_tick_has_a_suitable_unit() {
        assert_eq!([0.5, 20.0, 1000.0, 2500.0].map(time_tick), ["0.5 ms", "20 ms", "1 s", "2.5 s"]);
    }
}
